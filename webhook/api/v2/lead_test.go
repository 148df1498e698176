package v2_test

import (
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

const (
	iface = "69528db6eb31577a8c3668f9faa081f6"
	other = "bfac4d851ee856fe8c95865ce1bbaa2d"
	nlb0  = "d8424dc4a4a3c413f89e433683f9040b"
	aocx  = "40007c0623210742000ebc58df6f5343e668b03a"
)

func function(name, mode, iface, afu string) v2.Object {
	return &v2.AcceleratorFunction{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v2.AcceleratorFunctionSpec{Mode: mode, InterfaceID: iface, AfuID: afu},
	}
}

func region(name, iface string) v2.Object {
	return &v2.FpgaRegion{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v2.FpgaRegionSpec{InterfaceID: iface}}
}

func TestAMappingLeadsToTheResourceOfItsIDs(t *testing.T) {
	const afResource = "fpga.intel.com/af-695.d84.aVKNtusxV3qMNmj5-qCB9thCTcSko8QT-J5DNoP5BAs"
	for name, c := range map[string]struct {
		object   v2.Object
		mode     v2.Mode
		resource string
	}{
		"af":               {function("n0p", "af", iface, nlb0), v2.ModeAF, afResource},
		"region":           {function("n0o", "region", iface, nlb0), v2.ModeRegion, "fpga.intel.com/region-" + iface},
		"AOCX hash":        {function("mm", "region", iface, aocx), v2.ModeRegion, "fpga.intel.com/region-" + iface},
		"name of any file": {function("f", "region", iface, "deadbeef0"), v2.ModeRegion, "fpga.intel.com/region-" + iface},
		"FpgaRegion":       {region("arria10.dcp1.2", iface), v2.ModeRegionDevel, "fpga.intel.com/region-" + iface},
		"longest name":     {region(strings.Repeat("n", 63), iface), v2.ModeRegionDevel, "fpga.intel.com/region-" + iface},
		"own resource":     {region("region-"+iface, iface), v2.ModeRegionDevel, "fpga.intel.com/region-" + iface},
	} {
		target, err := c.object.Lead()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if target.Resource != c.resource || target.Mode != c.mode || target.Interface != iface {
			t.Errorf("%s: leads to %+v, want %s in mode %s", name, target, c.resource, c.mode)
		}
		if f, ok := c.object.(*v2.AcceleratorFunction); ok && string(target.Function) != f.Spec.AfuID {
			t.Errorf("%s: function %s", name, target.Function)
		}
	}
}

func TestAMappingThatLeadsNowhereSaysWhy(t *testing.T) {
	for name, c := range map[string]struct {
		object  v2.Object
		reason  string
		message string
	}{
		"mode that begins with af":   {function("f", "afoo", iface, nlb0), v2.ReasonInvalidMode, `"afoo" is neither af nor region`},
		"mode that ends with region": {function("f", "xregion", iface, nlb0), v2.ReasonInvalidMode, "xregion"},
		"no mode":                    {function("f", "", iface, nlb0), v2.ReasonInvalidMode, `""`},
		"regiondevel as a mode":      {function("f", "regiondevel", iface, nlb0), v2.ReasonInvalidMode, "regiondevel"},
		"short interface":            {function("f", "region", "69528db6", nlb0), v2.ReasonInvalidInterfaceID, `"69528db6" is not 32`},
		"odd interface":              {region("r", iface[:31]), v2.ReasonInvalidInterfaceID, "is not 32 lowercase hex digits"},
		"interface in capitals":      {region("r", strings.ToUpper(iface)), v2.ReasonInvalidInterfaceID, "lowercase"},
		"interface with dashes":      {region("r", "69528db6-eb31-577a-8c36-68f9faa081f6"), v2.ReasonInvalidInterfaceID, "hex digits"},
		"interface with a space":     {region("r", iface+" "), v2.ReasonInvalidInterfaceID, "hex digits"},
		"no interface":               {region("r", ""), v2.ReasonInvalidInterfaceID, `""`},
		"odd afu in mode af":         {function("f", "af", iface, nlb0[:31]), v2.ReasonInvalidAfuID, "has 31 digits"},
		"AOCX hash in mode af":       {function("f", "af", iface, aocx), v2.ReasonInvalidAfuID, "has 40 digits"},
		"afu that climbs":            {function("f", "region", iface, "../../etc/passwd"), v2.ReasonInvalidAfuID, "hex digits"},
		"afu too short":              {function("f", "region", iface, "d8424dc"), v2.ReasonInvalidAfuID, "8 to 40"},
		"afu too long":               {function("f", "region", iface, aocx+"0"), v2.ReasonInvalidAfuID, "8 to 40"},
		"afu in capitals":            {function("f", "region", iface, strings.ToUpper(nlb0)), v2.ReasonInvalidAfuID, "lowercase"},
		"name too long":              {region(strings.Repeat("n", 64), iface), v2.ReasonInvalidName, "64 characters"},
		"no name":                    {region("", iface), v2.ReasonInvalidName, "0 characters"},
		"name of another region":     {region("region-"+other, iface), v2.ReasonInvalidName, "that of a resource"},
		"function named as a region": {function("region-"+iface, "region", iface, nlb0), v2.ReasonInvalidName, "that of a resource"},
		"af with a region's name":    {function("region-"+iface, "af", iface, nlb0), v2.ReasonInvalidName, "that of a resource"},
	} {
		target, err := c.object.Lead()
		var invalid *v2.InvalidError
		if !errors.As(err, &invalid) || invalid.Reason != c.reason || !strings.Contains(invalid.Message, c.message) {
			t.Errorf("%s: %v (%+v), want %s: %s", name, err, invalid, c.reason, c.message)
		}
		if target != (v2.Target{}) {
			t.Errorf("%s: a target beside the error: %+v", name, target)
		}
	}
}
