package policy_test

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/internal/policy"
)

const (
	iface      = "69528db6eb31577a8c3668f9faa081f6"
	otherIface = "bfac4d851ee856fe8c95865ce1bbaa2d"
	nlb0       = "d8424dc4a4a3c413f89e433683f9040b"
	nlb3       = "f7df405cbd7acf7222f144b0b93acd18"
)

const good = `{"format":1,"synced":"2026-01-02T03:04:05Z","namespaces":{
  "video":{"acceleratorFunctions":[{"name":"encode","interfaceId":"` + iface + `","afuId":"` + nlb0 + `","mode":"region"},
                                   {"name":"scale","interfaceId":"` + iface + `","afuId":"` + nlb3 + `","mode":"af"}],
           "fpgaRegions":[{"name":"bench","interfaceId":"` + otherIface + `"}]},
  "empty":{}}}`

var synced = time.Date(2026, time.January, 2, 3, 4, 5, 0, time.UTC)

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestOnlyTheNamespacesOwnMappingsGrant(t *testing.T) {
	p, err := policy.Read(write(t, good), 0, synced)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		namespace string
		mode      policy.Mode
		iface     string
		fn        string
		want      bool
	}{
		"its mapping":       {"video", policy.ModeRegion, iface, nlb0, true},
		"its other mapping": {"video", policy.ModeAF, iface, nlb3, true},
		"another mode":      {"video", policy.ModeAF, iface, nlb0, false},
		"another function":  {"video", policy.ModeRegion, iface, nlb3, false},
		"another interface": {"video", policy.ModeRegion, otherIface, nlb0, false},
		"another namespace": {"audio", policy.ModeRegion, iface, nlb0, false},
		"an empty one":      {"empty", policy.ModeRegion, iface, nlb0, false},
		"no namespace":      {"", policy.ModeRegion, iface, nlb0, false},
		"no ids":            {"video", policy.ModeRegion, "", "", false},
		"no mode":           {"video", "", iface, nlb0, false},
	} {
		if got := p.AllowsFunction(c.namespace, c.mode, c.iface, c.fn); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if !p.AllowsRegion("video", otherIface) {
		t.Error("its region is refused")
	}
	if p.AllowsRegion("video", iface) || p.AllowsRegion("empty", otherIface) || p.AllowsRegion("", otherIface) {
		t.Error("a region without a mapping is granted")
	}
}

func TestAFileThatCannotBeTrustedGrantsNothing(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "policy.json")
	for name, c := range map[string]struct {
		file   string
		maxAge time.Duration
		now    time.Time
		kind   error
		text   string
	}{
		"missing":             {missing, 0, synced, policy.ErrMissing, missing},
		"a folder":            {t.TempDir(), 0, synced, nil, "is a folder, not a regular file"},
		"a FIFO":              {fifo(t), 0, synced, nil, "is a FIFO, not a regular file"},
		"a socket":            {socket(t), 0, synced, nil, "is a socket, not a regular file"},
		"a device":            {"/dev/zero", 0, synced, nil, "is a device, not a regular file"},
		"empty":               {write(t, ""), 0, synced, nil, "not JSON"},
		"half of it":          {write(t, good[:200]), 0, synced, nil, "not JSON"},
		"two of them":         {write(t, good+good), 0, synced, nil, "not JSON"},
		"null":                {write(t, "null"), 0, synced, nil, "no format number"},
		"no format":           {write(t, `{"namespaces":{}}`), 0, synced, nil, "no format number"},
		"format 0":            {write(t, `{"format":0}`), 0, synced, nil, "no format number"},
		"a format of text":    {write(t, `{"format":"1"}`), 0, synced, nil, "not JSON"},
		"a newer format":      {write(t, `{"format":2,"namespaces":[["so different"]]}`), 0, synced, policy.ErrNewer, "2, this program knows 1"},
		"an unknown field":    {write(t, strings.Replace(good, `"mode":"af"`, `"mode":"af","notOn":"weekdays"`, 1)), 0, synced, nil, "notOn"},
		"a wrong type":        {write(t, strings.Replace(good, `"`+iface+`"`, `7`, 1)), 0, synced, nil, "malformed"},
		"too old":             {write(t, good), time.Hour, synced.Add(time.Hour + time.Second), policy.ErrOld, "1h0m1s ago, 1h0m0s are allowed"},
		"never in step":       {write(t, `{"format":1,"namespaces":{}}`), time.Hour, synced, policy.ErrOld, "ago"},
		"from the future":     {write(t, good), time.Hour, synced.Add(-2 * time.Hour), policy.ErrOld, "in the future"},
		"a negative limit":    {write(t, good), -time.Hour, synced, policy.ErrOld, "-1h0m0s are allowed"},
		"larger than allowed": {large(t), 0, synced, nil, "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := policy.Read(c.file, c.maxAge, c.now)
			if err == nil || p != nil {
				t.Fatalf("%+v, %v", p, err)
			}
			if c.kind != nil && !errors.Is(err, c.kind) {
				t.Errorf("%v is not %v", err, c.kind)
			}
			if !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), c.file) {
				t.Errorf("%q does not say %q and %q", err, c.text, c.file)
			}
		})
	}
}

// large is a file with a hole, which costs no disk.
func large(t *testing.T) string {
	file := write(t, good)
	if err := os.Truncate(file, 64<<20+1); err != nil {
		t.Fatal(err)
	}
	return file
}

// fifo has nobody at its other end: to open it as a file is opened lasts for ever.
func fifo(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.json")
	if err := unix.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "policy") // a socket's path has room for 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return filepath.Join(dir, "s")
}

func TestAFileIsGoodUntilItsAgeIsOver(t *testing.T) {
	file := write(t, good)
	for _, now := range []time.Time{synced, synced.Add(time.Hour), synced.Add(-time.Minute)} {
		if _, err := policy.Read(file, time.Hour, now); err != nil {
			t.Errorf("%s: %v", now, err)
		}
	}
	if _, err := policy.Read(file, 0, synced.AddDate(100, 0, 0)); err != nil {
		t.Errorf("without a limit: %v", err)
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"Format":1,"format":1,"namespaces":{"a":null}}`))
	f.Add([]byte(`{"format":1,"synced":"0001-01-01T00:00:00Z","namespaces":{"":{"fpgaRegions":[{}]}}} `))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := policy.Parse(b)
		if err != nil {
			if p != nil {
				t.Error("an error and a policy")
			}
			return
		}
		if p.Format != policy.Format {
			t.Errorf("format %d passes", p.Format)
		}
		again, err := json.Marshal(p)
		if err != nil {
			return // a time beyond year 9999
		}
		back, err := policy.Parse(again)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		for ns, n := range p.Namespaces {
			for _, fn := range n.Functions {
				if !back.AllowsFunction(ns, fn.Mode, fn.Interface, fn.Function) {
					t.Errorf("%q lost %+v", ns, fn)
				}
			}
			if d := cmp.Diff(len(n.Regions), len(back.Namespaces[ns].Regions)); d != "" {
				t.Error(d)
			}
		}
	})
}
