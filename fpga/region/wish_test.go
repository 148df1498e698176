package region_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/fpga/region"
)

const (
	iface      = "69528db6eb31577a8c3668f9faa081f6"
	otherIface = "bfac4d851ee856fe8c95865ce1bbaa2d"
	nlb0       = "d8424dc4a4a3c413f89e433683f9040b"
	nlb3       = "f7df405cbd7acf7222f144b0b93acd18"
)

func TestWishesOfAnEnvironment(t *testing.T) {
	for name, c := range map[string]struct {
		env  []string
		want string // <interface's first digit>/<function's first digit> …
	}{
		"one pair": {[]string{"PATH=/bin", "FPGA_REGION_1=" + iface, "FPGA_AFU_1=" + nlb0}, "6/d"},
		"by number, not by text": {[]string{
			"FPGA_REGION_10=" + iface, "FPGA_AFU_10=" + nlb3, "FPGA_REGION_2=" + otherIface, "FPGA_AFU_2=" + nlb0,
		}, "b/d 6/f"},
		"other suffixes behind the numbers": {[]string{
			"FPGA_REGION_b=" + iface, "FPGA_AFU_b=" + nlb3, "FPGA_REGION_=" + iface, "FPGA_AFU_=" + nlb0, "FPGA_REGION_7=" + otherIface,
			"FPGA_AFU_7=" + nlb3,
		}, "b/f 6/d 6/f"},
		"numbers that are equal": {[]string{
			"FPGA_REGION_1=" + iface, "FPGA_AFU_1=" + nlb3, "FPGA_REGION_01=" + iface, "FPGA_AFU_01=" + nlb0,
		}, "6/d 6/f"},
		"the last of two counts": {[]string{
			"FPGA_REGION_1=" + iface, "FPGA_AFU_1=" + nlb0, "FPGA_AFU_1=" + nlb3,
		}, "6/f"},
		"as users write them": {[]string{
			"FPGA_REGION_1=69528DB6-eb31-577a-8c36-68f9faa081f6", "FPGA_AFU_1= " + strings.ToUpper(nlb0) + "\n",
		}, "6/d"},
		"an OpenCL hash":            {[]string{"FPGA_REGION_1=" + iface, "FPGA_AFU_1=" + strings.Repeat("e", 40)}, "6/e"},
		"an AFU without its region": {[]string{"FPGA_REGION_1=" + iface, "FPGA_AFU_1=" + nlb0, "FPGA_AFU_2=x"}, "6/d"},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := region.Wishes(c.env)
			var got []string
			for _, x := range w {
				got = append(got, fmt.Sprintf("%.1s/%.1s", x.Interface, x.Function))
			}
			if err != nil || strings.Join(got, " ") != c.want {
				t.Errorf("%v, %v; want %s", got, err, c.want)
			}
			if !region.Asks(c.env) {
				t.Error("Asks: false")
			}
		})
	}
}

func TestHostileEnvironmentsAreRefused(t *testing.T) {
	pair := func(r, a string) []string { return []string{"FPGA_REGION_1=" + r, "FPGA_AFU_1=" + a} }
	for name, c := range map[string]struct {
		env  []string
		want string
	}{
		"nothing":                  {nil, region.ErrNoRegion.Error()},
		"AFU alone":                {[]string{"FPGA_AFU_1=" + nlb0}, region.ErrNoRegion.Error()},
		"region alone":             {[]string{"FPGA_REGION_1=" + iface}, region.ErrNoAFU.Error()},
		"a region without its AFU": {append(pair(iface, nlb0), "FPGA_REGION_2="+iface), "FPGA_REGION_2 is set, FPGA_AFU_2 is not"},
		"no equals sign":           {[]string{"FPGA_REGION_1", "FPGA_AFU_1"}, `FPGA_REGION_1: interface id "" is not 32 hex digits`},
		"empty":                    {pair("", ""), "FPGA_REGION_1"},
		"a path as region":         {pair("../../etc", nlb0), "FPGA_REGION_1"},
		"a path as AFU":            {pair(iface, "../../../../etc/shadow"), "FPGA_AFU_1"},
		"a zero byte":              {pair(iface, nlb0[:31]+"\x00"), "FPGA_AFU_1"},
		"too long":                 {pair(iface, strings.Repeat("a", 65)), "FPGA_AFU_1"},
		"too short":                {pair(iface, "abc"), "FPGA_AFU_1"},
		"a megabyte":               {pair(iface, strings.Repeat("/", 1<<20)), "FPGA_AFU_1"},
		"a name of several lines":  {[]string{"FPGA_REGION_\n\x1b[2Jx=" + iface, "FPGA_AFU_9=" + nlb0}, `FPGA_REGION_\n\x1b[2Jx is set`},
		"a long name":              {[]string{"FPGA_REGION_" + strings.Repeat("9", 1<<20) + "=x", "FPGA_AFU_1=" + nlb0}, "FPGA_REGION_9999"},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := region.Wishes(c.env)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, %v; want %q", w, err, c.want)
			}
			if len(err.Error()) > 300 || strings.ContainsAny(err.Error(), "\n\x1b\x00") {
				t.Errorf("not one short line: %.400q", err.Error())
			}
		})
	}
	if _, err := region.Wishes([]string{"FPGA_AFU_1=x"}); !errors.Is(err, region.ErrNoRegion) {
		t.Errorf("ErrNoRegion is not told: %v", err)
	}
	if region.Asks([]string{"PATH=/bin", "XFPGA_AFU_1=x", "FPGA_REGIO=x"}) {
		t.Error("an environment that names no function asks")
	}
}

func FuzzWishes(f *testing.F) {
	f.Add("FPGA_REGION_1="+iface, "FPGA_AFU_1="+nlb0, "FPGA_REGION_1")
	f.Add("FPGA_REGION_="+iface, "FPGA_AFU_="+nlb0, "=")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		w, err := region.Wishes([]string{a, b, c})
		if (err == nil) != (len(w) > 0) {
			t.Errorf("%v, %v", w, err)
		}
		for _, x := range w {
			if len(x.Interface) != 32 || len(x.Function) < 8 || len(x.Function) > 64 ||
				strings.Trim(string(x.Interface)+string(x.Function), "0123456789abcdef") != "" {
				t.Errorf("%+v", x)
			}
		}
	})
}

func TestAskingCostsNothing(t *testing.T) {
	env := []string{"PATH=/bin", "HOME=/", "FPGA_AFU_1=x"}
	if n := testing.AllocsPerRun(100, func() { region.Asks(env) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
