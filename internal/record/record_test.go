package record_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/internal/record"
)

const region = "region-69528db6eb31577a8c3668f9faa081f6"

func TestARecordReadsBackAsItWasWritten(t *testing.T) {
	want := []record.Allocation{
		{Resource: "af-695.d84.aVKNtusxV3qMNmj5-qCB9thCTcSko8QT-J5DNoP5BAs", Devices: []record.Device{{ID: "intel-fpga-port.3", Address: "abcdef01:82:1f.7"}}},
		{Resource: region, Devices: []record.Device{{ID: "dfl-fme.1", Address: "0000:82:00.0"}, {ID: "dfl-fme.0", Address: "10000:3b:00.0"}}},
	}
	annotations := map[string]string{"unrelated": "x", "fpga.intel.com/mode": "region"}
	for _, a := range want {
		annotations[record.Key(a.Resource)] = record.Value(a.Devices)
	}
	if got := annotations["allocated.fpga.intel.com/"+region]; got != "dfl-fme.1@0000:82:00.0,dfl-fme.0@10000:3b:00.0" {
		t.Errorf("the value is %q", got)
	}
	got, err := record.Parse(annotations)
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	if !record.Present(annotations) {
		t.Error("Present: false")
	}
	if keys := record.Keys(annotations); len(keys) != 2 || keys[1] != "allocated.fpga.intel.com/"+region {
		t.Errorf("keys %q", keys)
	}
}

func TestNoRecordIsNone(t *testing.T) {
	for _, annotations := range []map[string]string{nil, {}, {"allocated.fpga.intel.comX/y": "z", "xallocated.fpga.intel.com/y": "z"}} {
		got, err := record.Parse(annotations)
		if err != nil || len(got) != 0 || record.Present(annotations) || len(record.Keys(annotations)) != 0 {
			t.Errorf("%v: %v, %v", annotations, got, err)
		}
	}
}

func TestWhatAllocateWouldNotHaveWrittenIsRefused(t *testing.T) {
	for name, value := range map[string]string{
		"empty":                "",
		"no address":           "dfl-fme.1",
		"empty address":        "dfl-fme.1@",
		"no device":            "@0000:82:00.0",
		"a space":              "dfl-fme.1@0000:82:00.0, dfl-fme.0@0000:3b:00.0",
		"a trailing comma":     "dfl-fme.1@0000:82:00.0,",
		"a newline":            "dfl-fme.1@0000:82:00.0\n",
		"twice":                "dfl-fme.1@0000:82:00.0,dfl-fme.1@0000:82:00.0",
		"a path":               "../dfl-fme.1@0000:82:00.0",
		"a path as address":    "dfl-fme.1@0000:82:00.0/../x",
		"two addresses":        "dfl-fme.1@0000:82:00.0@0000:82:00.0",
		"upper case":           "dfl-fme.1@0000:3B:00.0",
		"a short domain":       "dfl-fme.1@000:3b:00.0",
		"a long domain":        "dfl-fme.1@123456789:3b:00.0",
		"function 8":           "dfl-fme.1@0000:3b:00.8",
		"an endless device id": strings.Repeat("a", 64) + "@0000:82:00.0",
		"an endless value":     strings.Repeat("dfl-fme.1@0000:82:00.0,", 1<<16),
		"control characters":   "dfl-fme.1\x1b[2J@0000:82:00.0",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := record.Parse(map[string]string{record.Key(region): value})
			if err == nil {
				t.Fatalf("%v", got)
			}
			if len(err.Error()) > 400 || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("not one short line: %.500q", err)
			}
		})
	}
	got, err := record.Parse(map[string]string{record.Key("a"): "dfl-fme.1@0000:82:00.0", record.Key("b"): "dfl-fme.1@0000:82:00.0"})
	if err == nil || !strings.Contains(err.Error(), "is in allocated.fpga.intel.com/a too") {
		t.Errorf("one device under two resources: %v, %v", got, err)
	}
}

func TestARecordOfAnotherFamilyIsReadByItsDomain(t *testing.T) {
	annotations := map[string]string{
		record.KeyFor("qat.intel.com/cy"):             "0000:6b:00.2@0000:6b:00.2",
		record.KeyFor("qat.intel.com/dc"):             "0000:6b:00.1@0000:6b:00.1",
		record.KeyFor("qat.intel.com.example.org/cy"): "0000:6b:00.3@0000:6b:00.3",
		record.Key(region):                            "dfl-fme.1@0000:82:00.0",
	}
	want := []record.Allocation{
		{Resource: "cy", Devices: []record.Device{{ID: "0000:6b:00.2", Address: "0000:6b:00.2"}}},
		{Resource: "dc", Devices: []record.Device{{ID: "0000:6b:00.1", Address: "0000:6b:00.1"}}},
	}
	got, err := record.ParseOf("qat.intel.com", annotations)
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	if !record.PresentOf("qat.intel.com", annotations) || record.PresentOf("dsa.intel.com", annotations) || record.PresentOf("qat.intel", annotations) {
		t.Error("PresentOf takes another domain")
	}
}

func TestAContainerWithoutRecordCostsNothing(t *testing.T) {
	annotations := map[string]string{}
	for i := range 20 {
		annotations[fmt.Sprintf("example.com/%d", i)] = "x"
	}
	if n := testing.AllocsPerRun(100, func() { record.Present(annotations); record.PresentOf("qat.intel.com", annotations) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(region, "dfl-fme.1@0000:82:00.0,dfl-fme.0@10000:3b:00.0")
	f.Add("", "@,@")
	f.Add("x", "a@0000:00:00.0,")
	f.Fuzz(func(t *testing.T, resource, value string) {
		got, err := record.Parse(map[string]string{record.Key(resource): value})
		if err != nil {
			return
		}
		if len(got) != 1 || got[0].Resource != resource || record.Value(got[0].Devices) != value {
			t.Errorf("%q: %q reads as %+v", resource, value, got)
		}
	})
}
