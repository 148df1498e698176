package qat_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
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

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/qat"
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
	for _, m := range d.Grant.Mounts {
		if m.HostPath != m.ContainerPath || m.ReadOnly {
			a.Mounts = append(a.Mounts, fmt.Sprintf("%+v", m))
			continue
		}
		a.Mounts = append(a.Mounts, m.HostPath)
	}
	for name, value := range d.Grant.Env {
		a.Env[name] = value
	}
	return a
}

// host is a tree and the family that looks at it.
type host struct {
	*qat.Family
	t    testing.TB
	root *hostfs.Root
	logs *test.Hook
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
	root, err := hostfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	log, logs := test.NewNullLogger()
	log.SetLevel(logrus.InfoLevel)
	family := qat.New(qat.Config{Root: root, Log: log}, options(t, append(flags, more...)...))
	return &host{Family: family, t: t, root: root, logs: logs}
}

// options are what a command line gives.
func options(t testing.TB, flags ...string) qat.Options {
	t.Helper()
	o := qat.DefaultOptions()
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	o.AddFlags(set)
	if err := errors.Join(set.Parse(flags), o.Validate()); err != nil {
		t.Fatal(err)
	}
	return o
}

// write replaces a file of the tree; "" takes it away, "-> x" makes a link.
func (h *host) write(hostPath, value string) {
	h.t.Helper()
	file := h.root.Join(hostPath)
	err := os.RemoveAll(file)
	target, link := strings.CutPrefix(value, "-> ")
	switch {
	case value == "":
	case link:
		err = errors.Join(err, os.Symlink(target, file))
	default:
		err = errors.Join(err, os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(value), 0o644))
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// read gives a file of the tree without white space around, "" if it is not there.
func (h *host) read(hostPath string) string {
	h.t.Helper()
	b, err := os.ReadFile(h.root.Join(hostPath))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		h.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// look scans once and gives what is offered, sorted as discover sorts it.
func look(t testing.TB, f *qat.Family) (list []advertised, skipped []plugin.Skipped) {
	t.Helper()
	inv, skipped, err := f.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list = []advertised{}
	for resource, devices := range inv {
		for _, d := range devices {
			list = append(list, advertise(resource, d))
		}
	}
	slices.SortFunc(list, func(a, b advertised) int {
		return cmp.Or(strings.Compare(a.Resource, b.Resource), strings.Compare(a.ID, b.ID))
	})
	return list, skipped
}

// want compares what a scan offers, "cy 0000:6b:00.1" to a part of the reason why it is unhealthy ("" = healthy).
func (h *host) want(want map[string]string) {
	h.t.Helper()
	list, _ := look(h.t, h.Family)
	got := map[string]string{}
	for _, a := range list {
		key := strings.TrimPrefix(a.Resource, qat.Domain) + " " + a.ID
		got[key] = a.Reason
		if (a.Health == plugin.Healthy) != (a.Reason == "") {
			h.t.Errorf("%s: health %s, reason %q", key, a.Health, a.Reason)
		}
		if part := want[key]; part != "" && strings.Contains(a.Reason, part) {
			got[key] = part
		}
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		h.t.Errorf("offered (-want +got):\n%s", diff)
	}
}

// devices gives what a scan offers as a resource.
func (h *host) devices(resource string) []plugin.Device {
	h.t.Helper()
	inv, _, err := h.Scan(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return inv[resource]
}

// state is every file of the tree with its content, to see whether anything was written.
func (h *host) state() map[string]string {
	h.t.Helper()
	files := map[string]string{}
	err := filepath.Walk(h.root.Dir(), func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			files[path] = string(b)
			return err
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return files
}

// Every tree: what discover prints (NAME.json), and what it leaves out, what doctor says, what is read every 5 s (NAME.txt).
// None of that writes anything.
func TestGoldenTrees(t *testing.T) {
	trees, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(trees) == 0 {
		t.Fatal("no golden trees", err)
	}
	for _, tree := range trees {
		name := strings.TrimSuffix(filepath.Base(tree), ".txtar")
		t.Run(name, func(t *testing.T) {
			h := newHost(t, name)
			before := h.state()
			f := h.ReadOnly()
			list, skipped := look(t, f)
			var out bytes.Buffer
			e := json.NewEncoder(&out)
			e.SetEscapeHTML(false)
			e.SetIndent("", "  ")
			if err := e.Encode(list); err != nil {
				t.Fatal(err)
			}
			compare(t, "testdata/"+name+".json", out.Bytes())
			compare(t, "testdata/"+name+".txt", h.words(f, skipped))
			if diff := gocmp.Diff(before, h.state()); diff != "" {
				t.Errorf("the look wrote something:\n%s", diff)
			}
		})
	}
}

func (h *host) words(f *qat.Family, skipped []plugin.Skipped) []byte {
	var out bytes.Buffer
	for _, s := range skipped {
		fmt.Fprintf(&out, "left out: %s\n", s)
	}
	for _, entry := range h.logs.AllEntries() {
		fmt.Fprintf(&out, "%s: %s\n", entry.Level, entry.Message)
	}
	for _, finding := range f.Diagnose(h.t.Context()) {
		fmt.Fprintf(&out, "doctor: %s: %s\n\t%s\n", finding.Path, finding.Reason, finding.Remedy)
	}
	for _, value := range f.Watch().Values {
		fmt.Fprintf(&out, "watched: %s\n", value)
	}
	for _, value := range f.Watch().Queries {
		fmt.Fprintf(&out, "asked: %s\n", value)
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
