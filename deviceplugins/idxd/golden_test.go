package idxd_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"github.com/spf13/pflag"
	"golang.org/x/tools/txtar"

	"github.com/inlay-project/inlay/deviceplugins/idxd"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// advertised is a device as inlay-deviceplugin discover prints it.
type advertised struct {
	Resource    string            `json:"resource"`
	ID          string            `json:"id"`
	Health      string            `json:"health"`
	Reason      string            `json:"reason"`
	Nodes       []string          `json:"nodes"`
	Mounts      []string          `json:"mounts"`
	Env         map[string]string `json:"env"`
	Annotations map[string]string `json:"annotations"`
	CDI         []string          `json:"cdi"`
	NUMA        []int             `json:"numa"`
}

func advertise(resource string, d plugin.Device) advertised {
	a := advertised{
		Resource: resource, ID: d.ID, Health: cmp.Or(d.Health, plugin.Healthy), Reason: d.Reason, Nodes: []string{}, Mounts: []string{},
		Env: map[string]string{}, Annotations: map[string]string{}, CDI: []string{}, NUMA: append([]int{}, d.NUMA...),
	}
	for _, n := range d.Grant.Nodes {
		if n.HostPath != n.ContainerPath || n.Permissions != "rw" {
			a.Nodes = append(a.Nodes, fmt.Sprintf("%+v", n))
			continue
		}
		a.Nodes = append(a.Nodes, n.HostPath)
	}
	for name, value := range d.Grant.Env {
		a.Env[name] = value
	}
	return a
}

// host is a tree and the two families that look at it.
type host struct {
	root     *hostfs.Root
	families []*idxd.Family
	logs     *test.Hook
}

// newHost makes the tree of a golden file; a line "flags: …" in its head is what the user gave.
func newHost(t testing.TB, name string, more ...string) *host {
	t.Helper()
	archive, err := os.ReadFile(filepath.Join("testdata", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := hostfstest.Extract(dir, archive, hostfstest.PlainNodes()); err != nil {
		t.Fatal(err)
	}
	var flags []string
	for line := range strings.Lines(string(txtar.Parse(archive).Comment)) {
		if given, ok := strings.CutPrefix(line, "flags: "); ok {
			flags = strings.Fields(given)
		}
	}
	return lookAt(t, dir, append(flags, more...)...)
}

func lookAt(t testing.TB, dir string, flags ...string) *host {
	t.Helper()
	root, err := hostfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	log, logs := test.NewNullLogger()
	log.SetLevel(logrus.DebugLevel)
	h := &host{root: root, logs: logs}
	for kind, o := range options(t, flags...) {
		h.families = append(h.families, idxd.New(idxd.Config{Root: root, Log: log}, kind, o))
	}
	slices.SortFunc(h.families, func(a, b *idxd.Family) int { return strings.Compare(a.Name(), b.Name()) })
	return h
}

// options are those of both kinds after a command line.
func options(t testing.TB, flags ...string) map[idxd.Kind]idxd.Options {
	t.Helper()
	dsa, iaa := idxd.DefaultOptions(), idxd.DefaultOptions()
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	dsa.AddFlags(set, idxd.DSA)
	iaa.AddFlags(set, idxd.IAA)
	if err := set.Parse(flags); err != nil {
		t.Fatal(err)
	}
	return map[idxd.Kind]idxd.Options{idxd.DSA: dsa, idxd.IAA: iaa}
}

// scan looks once with both families.
func (h *host) scan(t testing.TB) (list []advertised, skipped []plugin.Skipped) {
	t.Helper()
	list = []advertised{}
	for _, f := range h.families {
		inv, more, err := f.Scan(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", f.Name(), err)
		}
		skipped = append(skipped, more...)
		for resource, devices := range inv {
			for _, d := range devices {
				list = append(list, advertise(resource, d))
			}
		}
	}
	slices.SortFunc(list, func(a, b advertised) int {
		return cmp.Or(strings.Compare(a.Resource, b.Resource), strings.Compare(a.ID, b.ID))
	})
	return list, skipped
}

// ids are the ids offered, by resource.
func (h *host) ids(t testing.TB) map[string][]string {
	t.Helper()
	list, _ := h.scan(t)
	ids := map[string][]string{}
	for _, a := range list {
		ids[a.Resource] = append(ids[a.Resource], a.ID)
	}
	return ids
}

// Every tree: what discover prints (NAME.json), and what it leaves out, what doctor says, what is read every 5 s (NAME.txt).
func TestGoldenTrees(t *testing.T) {
	trees, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(trees) == 0 {
		t.Fatal("no golden trees", err)
	}
	for _, tree := range trees {
		name := strings.TrimSuffix(filepath.Base(tree), ".txtar")
		t.Run(name, func(t *testing.T) {
			h := newHost(t, name)
			list, skipped := h.scan(t)
			var out bytes.Buffer
			e := json.NewEncoder(&out)
			e.SetEscapeHTML(false)
			e.SetIndent("", "  ")
			if err := e.Encode(list); err != nil {
				t.Fatal(err)
			}
			compare(t, "testdata/"+name+".json", out.Bytes())
			compare(t, "testdata/"+name+".txt", h.words(t, skipped))
		})
	}
}

func (h *host) words(t *testing.T, skipped []plugin.Skipped) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, s := range skipped {
		fmt.Fprintf(&out, "left out: %s\n", s)
	}
	for _, f := range h.families {
		for _, s := range f.PassedOver(t.Context()) {
			fmt.Fprintf(&out, "passed over: %s\n", s)
		}
		for _, finding := range f.Diagnose(t.Context()) {
			fmt.Fprintf(&out, "doctor %s: %s: %s\n\t%s\n", f.Name(), finding.Path, finding.Reason, finding.Remedy)
		}
		for _, value := range f.Watch().Values {
			fmt.Fprintf(&out, "watched: %s\n", value)
		}
	}
	for _, entry := range h.logs.AllEntries() {
		fmt.Fprintf(&out, "%s: %s\n", entry.Level, entry.Message)
	}
	return bytes.ReplaceAll(out.Bytes(), []byte(h.root.Dir()+"/"), []byte("/"))
}

func compare(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
