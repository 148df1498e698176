package plugin_test

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
)

// A question to the hardware is put by the audits alone, and the family decides what its answer means.
func TestQueriesAreAskedByTheAuditsAlone(t *testing.T) {
	b := newBench(t)
	file := filepath.Join(t.TempDir(), "status")
	if err := os.WriteFile(file, []byte("0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var heard []string
	scan := false
	b.rack.watch.Queries = []string{file, file + "-absent"}
	b.rack.watch.Answered = func(path string, content []byte, err error) bool {
		mu.Lock()
		defer mu.Unlock()
		if (path == file) != (err == nil) {
			t.Errorf("%s: %v", path, err)
		}
		heard = append(heard, string(content))
		return scan && path == file
	}
	b.startKubelet()
	b.start(func(c *plugin.Config) { c.Audit = 50 * time.Millisecond })
	b.await(regionA, "dfl-fme.0", "dfl-fme.1")
	scans := func() (n int) { b.rack.set(func(r *rack) { n = r.scans }); return n }
	time.Sleep(300 * time.Millisecond)
	before := scans()
	time.Sleep(500 * time.Millisecond)
	mu.Lock()
	n := len(heard)
	if !slices.Contains(heard, "0\n") {
		t.Errorf("heard %q", heard)
	}
	scan = true
	mu.Unlock()
	quiet := scans()
	if n < 10 || quiet-before > 1 {
		t.Errorf("%d answers, %d scans without a reason", n, quiet-before)
	}
	time.Sleep(500 * time.Millisecond)
	if scans()-quiet < 2 {
		t.Error("the family asked for scans and got none")
	}
}
