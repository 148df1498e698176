package mirror

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/internal/childtest"
	"github.com/inlay-project/inlay/internal/policy"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

func TestWhatAnEarlierProcessLeftCountsUntilItIsReplaced(t *testing.T) {
	const (
		good  = `{"format":1,"synced":"1999-12-31T00:00:00Z","namespaces":{"old":{"fpgaRegions":[{"name":"r","interfaceId":"` + iface + `"}]}}}`
		newer = `{"format":2,"synced":"1999-12-31T00:00:00Z","grants":[]}`
	)
	for name, c := range map[string]struct {
		before string
		synced string // of the metric, at first
		held   int
		warned int
	}{
		"a good one":     {good, "1999-12-31", 1, 0},
		"a newer format": {newer, "0001-01-01", 0, 1},
		"half of one":    {good[:50], "0001-01-01", 0, 1},
		"none":           {"", "0001-01-01", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				r := newRig(t, filepath.Join(dir, "policy.json"))
				left := map[string]bool{".policy.json.123": false, ".policy.json.bak": true, ".policy.json.": true, "policy.json.1": true}
				for f := range left {
					if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				if c.before != "" {
					if err := os.WriteFile(r.file, []byte(c.before), 0o640); err != nil {
						t.Fatal(err)
					}
				}
				r.See(true, []fpga.InterfaceID{iface})
				r.run()
				time.Sleep(time.Hour)
				if b, _ := os.ReadFile(r.file); string(b) != c.before {
					t.Errorf("before anything was in step it became %s", b)
				}
				if got := r.counts.now().synced.Format("2006-01-02"); got != c.synced || r.counts.now().held != c.held {
					t.Errorf("counted %+v", r.counts.now())
				}
				if n := r.logged("what is there cannot be used"); n != c.warned {
					t.Errorf("warned %d times", n)
				}
				r.functions(iface).all()
				r.regions(iface).all(region("new", "r", iface))
				soon()
				r.want("new/r")
				if st, err := os.Stat(r.file); err != nil || st.Mode() != 0o600 {
					t.Errorf("%v, %v", st.Mode(), err)
				}
				for f, stays := range left {
					if _, err := os.Lstat(filepath.Join(dir, f)); (err == nil) != stays {
						t.Errorf("%s: %v", f, err)
					}
				}
			})
		})
	}
}

// After a restart one of two cards may be late, sick or in reset.
func TestAFileOfBeforeIsNotReplacedWithoutTheCardsThatItSpeaksOf(t *testing.T) {
	const before = `{"format":1,"synced":"1999-12-31T00:00:00Z","namespaces":{
		"a":{"acceleratorFunctions":[{"name":"one","interfaceId":"` + iface + `","afuId":"` + nlb0 + `","mode":"region"}]},
		"b":{"fpgaRegions":[{"name":"two","interfaceId":"` + other + `"},{"name":"odd","interfaceId":"FF"}]}}}`
	for name, late := range map[string]bool{"which comes later": true, "which never comes": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, filepath.Join(t.TempDir(), "policy.json"))
				if err := os.WriteFile(r.file, []byte(before), 0o600); err != nil {
					t.Fatal(err)
				}
				r.See(true, []fpga.InterfaceID{iface})
				r.run()
				r.functions(iface).all(function("a", "one", "region", iface, nlb0), function("a", "new", "region", iface, nlb3))
				r.regions(iface).all()
				soon()
				r.want("a/one b/odd b/two")
				if r.functions(other) == nil {
					t.Fatal("the mappings of the other card are not followed")
				}
				if got := strings.Join(r.Missing(), "\n"); !strings.Contains(got, "FpgaRegions of interface "+other+" were never in step") {
					t.Errorf("missing: %q", got)
				}
				if late {
					r.See(true, []fpga.InterfaceID{iface, other})
					soon()
				}
				r.functions(other).all()
				r.regions(other).all(region("b", "two", other))
				soon()
				r.want("a/new a/one b/two")
				for key, s := range r.sources {
					if s.runs != 1 || strings.Contains(key, "FF") {
						t.Errorf("%s was begun %d times", key, s.runs)
					}
				}
			})
		})
	}
}

func TestWhatStandsInTheWayIsNamedAndNotRemoved(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(dir string) error
		want    string
		lift    func(dir string) error
	}{
		"a folder in the file's place": {
			func(dir string) error { return os.MkdirAll(dir+"/inlay/policy.json/x", 0o755) }, "file exists",
			func(dir string) error { return os.RemoveAll(dir + "/inlay/policy.json") },
		},
		"a file in the folder's place": {
			func(dir string) error { return os.WriteFile(dir+"/inlay", nil, 0o600) }, "not a directory",
			func(dir string) error { return os.Remove(dir + "/inlay") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				if err := c.prepare(dir); err != nil {
					t.Fatal(err)
				}
				r := newRig(t, dir+"/inlay/policy.json")
				r.See(true, []fpga.InterfaceID{iface})
				r.run()
				r.functions(iface).all()
				r.regions(iface).all(region("a", "r", iface))
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				if got := strings.Join(r.Missing(), "\n"); got != "policy: "+r.file+" cannot be written: "+c.want {
					t.Errorf("missing: %q", got)
				}
				if n := r.logged("the policy file stays as it is"); n != 1 {
					t.Errorf("logged %d times", n)
				}
				if err := c.lift(dir); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * lastRetry)
				synctest.Wait()
				r.want("a/r")
			})
		})
	}
}

func TestTheTextDoesNotDependOnTheOrderOfWhatIsTold(t *testing.T) {
	objects := []v2.Object{
		function("b", "x", "region", iface, nlb0), function("a", "z", "region", iface, nlb0), function("a", "y", "af", iface, nlb3),
		function("b", "w", "region", iface, nlb3), function("c", `odd "name" <&> ü`, "region", iface, nlb3),
	}
	var first []byte
	for range 20 {
		rand.Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
		m := New(Config{})
		m.See(true, []fpga.InterfaceID{other, iface})
		var doc document
		for _, s := range m.sources {
			if s.iface == iface && s.kind == v2.KindAcceleratorFunction {
				s.Replace(objects)
			} else {
				s.Replace(nil)
			}
			s.InStep(time.Unix(0, 0))
		}
		doc.encode(m.sources, m.enclaves())
		doc.date(time.Unix(1e9, 999999999))
		if first == nil {
			first = bytes.Clone(doc.text)
		}
		if !bytes.Equal(first, doc.text) {
			t.Fatalf("%s\n%s", first, doc.text)
		}
	}
	p, err := policy.Parse(first)
	if err != nil {
		t.Fatalf("%v: %s", err, first)
	}
	if !p.Synced.Equal(time.Unix(1e9, 0)) || len(p.Namespaces) != 3 || len(p.Namespaces["a"].Functions) != 2 ||
		!p.AllowsFunction("c", policy.ModeRegion, iface, nlb3) {
		t.Errorf("%s", first)
	}
}

// asWriter is the role in which this test binary writes the file of its argument until it is killed.
const asWriter = "writer"

func writeForEver(file string) {
	for n := 0; ; n++ {
		m := New(Config{})
		m.See(true, []fpga.InterfaceID{iface})
		for _, s := range m.sources {
			var all []v2.Object
			for i := range n % 400 {
				all = append(all, region("ns", "r"+strings.Repeat("x", i%50), iface))
			}
			s.Replace(all)
			s.InStep(time.Now())
		}
		var doc document
		doc.encode(m.sources, m.enclaves())
		doc.date(time.Now())
		if err := put(file, doc.text, true); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		if n == 0 {
			childtest.Ready() // there is a file
		}
	}
}

func TestAProcessThatIsKilledLeavesAWholeFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.json")
	for range 30 {
		childtest.KillWithin(t, childtest.Command(asWriter, file), 20*time.Millisecond)
		if _, err := policy.Read(file, 0, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	sweep(file)
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}
