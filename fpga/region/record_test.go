package region

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/bitstream"
	"github.com/inlay-project/inlay/internal/hostfs"
)

const (
	afuA = "d8424dc4a4a3c413f89e433683f9040b"
	afuB = "f7df405cbd7acf7222f144b0b93acd18"
	hash = "4c4f1e2f8a5c3b6d7e8f9a0b1c2d3e4f5a6b7c8d"
)

var testFME = &fpga.FME{Name: "dfl-fme.0", PCI: fpga.PCI{Address: "0000:3b:00.0"}}

func TestHolds(t *testing.T) {
	file := bitstream.Identity{Dev: 1, Ino: 2, Size: 3, MtimeNS: 4}
	other := file
	other.Ino = 5
	loaded := &Record{State: Loaded, Function: afuA, AFU: afuA, File: file, Boot: "now"}
	change := func(f func(*Record)) *Record {
		r := *loaded
		f(&r)
		return &r
	}
	aocx := change(func(r *Record) { r.Function, r.AFU = hash, afuB })
	for name, c := range map[string]struct {
		afu    fpga.AFUID
		record *Record
		fn     fpga.FunctionID
		file   bitstream.Identity
		want   bool
	}{
		"no record, sysfs agrees":              {afuA, nil, afuA, file, true},
		"no record, no file in the store":      {afuA, nil, afuA, bitstream.Identity{}, true},
		"no record, another function":          {afuB, nil, afuA, file, false},
		"no record, an AOCX hash":              {afuA, nil, hash, file, false},
		"no record, unreadable id":             {"", nil, afuA, file, false},
		"no record, no function":               {"", nil, "", file, false},
		"recorded":                             {afuA, loaded, afuA, file, true},
		"recorded, sysfs disagrees":            {afuB, loaded, afuA, file, false},
		"recorded, other function asked for":   {afuA, loaded, afuB, file, false},
		"the file was replaced":                {afuA, loaded, afuA, other, false},
		"the file is gone":                     {afuA, loaded, afuA, bitstream.Identity{}, false},
		"foreign":                              {afuA, change(func(r *Record) { r.State = Foreign }), afuA, file, false},
		"its process was killed":               {afuA, change(func(r *Record) { r.State = Programming }), afuA, file, false},
		"it failed":                            {afuA, change(func(r *Record) { r.State = Failed }), afuA, file, false},
		"a record that could not be read":      {afuA, &Record{Boot: "now"}, afuA, file, false},
		"an AOCX":                              {afuB, aocx, hash, file, true},
		"another AOCX with the same AFU id":    {afuB, aocx, fpga.FunctionID("5" + hash[1:]), file, false},
		"a GBS asked for, an AOCX was loaded":  {afuB, aocx, afuB, file, false},
		"reboot, sysfs agrees":                 {afuA, change(func(r *Record) { r.Boot = "then" }), afuA, other, true},
		"reboot, foreign then":                 {afuA, change(func(r *Record) { r.Boot, r.State = "then", Foreign }), afuA, file, true},
		"reboot, AOCX then":                    {afuB, change(func(r *Record) { *r = *aocx; r.Boot = "then" }), hash, file, false},
		"reboot, the AFU of the AOCX is asked": {afuB, change(func(r *Record) { *r = *aocx; r.Boot = "then" }), afuB, file, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Holds(c.afu, c.record, "now", c.fn, c.file); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func TestARecordReadsBackAsItWasWritten(t *testing.T) {
	dir := t.TempDir()
	if r, err := ReadRecord(dir, testFME, 1); r != nil || err != nil {
		t.Errorf("without a record: %v, %v", r, err)
	}
	want := Record{
		State: Loaded, Function: afuA, AFU: afuA, File: bitstream.Identity{Dev: 1 << 63, Ino: 1<<64 - 1, Size: 1 << 40, MtimeNS: -1},
		Boot: "x", Time: time.Now().UTC().Truncate(time.Microsecond),
	}
	if err := writeRecord(dir, testFME, 1, want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadRecord(dir, testFME, 1)
	if err != nil || cmp.Diff(&want, got) != "" {
		t.Errorf("%v %s", err, cmp.Diff(&want, got))
	}
	if r, err := ReadRecord(dir, testFME, 2); r != nil || err != nil {
		t.Errorf("another port: %v, %v", r, err)
	}
	st, err := os.Stat(filepath.Join(dir, "load-0000:3b:00.0-1.json"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", st, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestARecordThatNobodyWroteIsAnError(t *testing.T) {
	good, err := json.Marshal(Record{State: Loaded, Function: afuA, AFU: afuA, Boot: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseRecord(good); err != nil {
		t.Fatal(err)
	}
	if r, err := parseRecord([]byte(`{"state":"foreign","boot":"x"}`)); err != nil || r.State != Foreign {
		t.Errorf("foreign: %v, %v", r, err)
	}
	replace := func(old, by string) string { return strings.Replace(string(good), old, by, 1) }
	for name, text := range map[string]string{
		"empty":            "",
		"half of it":       string(good[:len(good)/2]),
		"null":             "null",
		"empty object":     "{}",
		"zeros":            strings.Repeat("\x00", 200),
		"an array":         "[]",
		"no boot id":       replace(`"boot":"x"`, `"boot":""`),
		"unknown state":    replace(`"loaded"`, `"believed"`),
		"no state":         replace(`"loaded"`, `""`),
		"no function":      replace(afuA, ""),
		"hostile function": replace(afuA, "../../x"),
		"upper case":       replace(afuA, strings.ToUpper(afuA)),
		"two of them":      string(good) + string(good),
		"too long":         string(good) + strings.Repeat(" ", maxRecord),
	} {
		t.Run(name, func(t *testing.T) {
			if r, err := parseRecord([]byte(text)); err == nil {
				t.Errorf("taken as %+v", r)
			}
		})
	}
}

func FuzzRecord(f *testing.F) {
	good, err := json.Marshal(Record{State: Loaded, Function: hash, AFU: afuA, Boot: "x", Time: time.Unix(1, 2)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"state":"foreign","boot":"x"}`))
	f.Add([]byte(`{"STATE":"loaded","function":"abcdef01","afu":"` + afuA + `","boot":"x","file":{"dev":-1}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRecord(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			return // a time beyond year 9999
		}
		back, err := parseRecord(again)
		if err != nil || !back.Time.Equal(r.Time) {
			t.Fatalf("%s\nreads back as %v, %v", again, back, err)
		}
		back.Time = r.Time
		if *back != *r {
			t.Errorf("%+v reads back as %+v", r, back)
		}
		if r.Boot == "" || r.State != Loaded && r.State != Foreign && r.State != Programming && r.State != Failed {
			t.Errorf("taken: %+v", r)
		}
	})
}

func TestTheLockIsHeldByOneAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	first, err := lock(t.Context(), dir, testFME)
	if err != nil {
		t.Fatal(err)
	}
	gone := errors.New("out of patience")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Millisecond, gone)
	defer cancel()
	if _, err := lock(ctx, dir, testFME); !errors.Is(err, gone) || !strings.Contains(err.Error(), "lock-0000:3b:00.0") {
		t.Errorf("the second: %v", err)
	}
	other := &fpga.FME{Name: "dfl-fme.1", PCI: fpga.PCI{Address: "0000:82:00.0"}}
	if l, err := lock(t.Context(), dir, other); err != nil {
		t.Errorf("another FME: %v", err)
	} else {
		l.Close()
	}
	taken := make(chan error, 1)
	go func() {
		l, err := lock(t.Context(), dir, testFME)
		if err == nil {
			l.Close()
		}
		taken <- err
	}()
	time.Sleep(5 * time.Millisecond)
	first.Close()
	if err := <-taken; err != nil {
		t.Errorf("after the first: %v", err)
	}
	if _, err := lock(t.Context(), filepath.Join(dir, "nothing"), testFME); err == nil {
		t.Error("a lock in no folder")
	}
}

func TestTheBootIDIsTheTreesOrTheKernels(t *testing.T) {
	dir := t.TempDir()
	root, err := hostfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	kernel, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	if id, err := BootID(root); err != nil || id != strings.TrimSpace(string(kernel)) {
		t.Errorf("a tree without /proc: %q, %v", id, err)
	}
	file := filepath.Join(dir, "proc/sys/kernel/random/boot_id")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"abc\n": "abc", "": ""} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if id, err := BootID(root); id != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v", text, id, err)
		}
	}
}

func TestEveryPortOfAForeignFMEIsMarked(t *testing.T) {
	for name, c := range map[string]struct {
		num   string
		ports []uint32
		want  []uint32
	}{
		"as many as there are":       {"2", []uint32{0, 1}, []uint32{0, 1}},
		"one was released":           {"2", []uint32{0}, []uint32{0, 1}},
		"the number is unknown":      {"", []uint32{0, 3}, []uint32{0, 3}},
		"the number is wrong":        {"1", []uint32{0, 3}, []uint32{0, 3}},
		"a card that reads all ones": {"4294967295", nil, make([]uint32, maxPorts)},
	} {
		fme := &fpga.FME{PortsNum: c.num}
		for _, id := range c.ports {
			fme.Ports = append(fme.Ports, fpga.Port{ID: id})
		}
		got := portNumbers(fme)
		if len(got) != len(c.want) || len(got) < 10 && cmp.Diff(got, c.want) != "" {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
