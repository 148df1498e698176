package process

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
)

func TestProcessesAreFoundByTheirCommandLineAndKilled(t *testing.T) {
	dir := t.TempDir() // its name makes the command lines this test's own
	var both []*Process
	for _, name := range []string{"a", "b"} {
		p, err := Start(Command{Name: name, Path: "/usr/bin/tail", Args: []string{"-f", "/dev/null", dir + "/" + name}, Log: filepath.Join(dir, "log")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := p.Kill(context.Background()); err != nil {
				t.Error(err)
			}
		})
		both = append(both, p)
	}
	a, b := both[0], both[1]
	if got := With(dir + "/"); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values([]int{a.Pid(), b.Pid()}))) {
		t.Errorf("both: got %v, want %d and %d", got, a.Pid(), b.Pid())
	}
	found := With("-f\x00/dev/null\x00", dir+"/a\x00")
	if !slices.Equal(found, []int{a.Pid()}) {
		t.Errorf("all texts: got %v, want %d", found, a.Pid())
	}
	if got := With(dir+"/a", dir+"/b"); len(got) > 0 {
		t.Errorf("a process with both arguments: %v", got)
	}
	for range 2 { // the second time it has ended
		if err := KillAll(found); err != nil {
			t.Error(err)
		}
		if err := a.Wait(short(t)); err != nil {
			t.Error(err)
		}
	}
	if !b.Alive() {
		t.Error("another process was killed")
	}
}
