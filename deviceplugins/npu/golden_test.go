package npu

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus/hooks/test"
	"github.com/spf13/pflag"
	"golang.org/x/tools/txtar"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

var update = flag.Bool("update", false, "write what is expected of the golden trees anew")

// advertised is a device as `inlay-deviceplugin discover -o json` prints it.
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

func advertise(inv plugin.Inventory) []advertised {
	list := []advertised{}
	for resource, devices := range inv {
		for _, d := range devices {
			a := advertised{
				Resource: resource, ID: d.ID, Health: d.Health, Reason: d.Reason, Nodes: []string{}, Mounts: []string{},
				Env: map[string]string{}, Annotations: map[string]string{}, CDI: append([]string{}, d.Grant.CDI...), NUMA: append([]int{}, d.NUMA...),
			}
			for _, n := range d.Grant.Nodes {
				a.Nodes = append(a.Nodes, n.HostPath)
			}
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b advertised) int { return strings.Compare(a.Resource+"\x00"+a.ID, b.Resource+"\x00"+b.ID) })
	return list
}

// parse gives the options that flags make of the defaults.
func parse(t testing.TB, flags ...string) Options {
	t.Helper()
	o := DefaultOptions()
	set := pflag.NewFlagSet("npu", pflag.ContinueOnError)
	o.AddFlags(set)
	if err := set.Parse(flags); err != nil {
		t.Fatal(err)
	}
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	return o
}

// golden makes a tree of testdata and gives the options that its first lines name.
func golden(t testing.TB, name string, opts ...hostfstest.Option) (*hostfs.Root, Options) {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/" + name + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	var flags []string
	for line := range strings.Lines(string(archive.Comment)) {
		if rest, ok := strings.CutPrefix(line, "flags: "); ok {
			flags = strings.Fields(rest)
		}
	}
	return tree(t, txtar.Format(archive), opts...), parse(t, flags...)
}

// tree makes a host tree of a text.
func tree(t testing.TB, archive []byte, opts ...hostfstest.Option) *hostfs.Root {
	t.Helper()
	dir := t.TempDir()
	if err := hostfstest.Extract(dir, archive, opts...); err != nil {
		t.Fatal(err)
	}
	root, err := hostfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func family(root *hostfs.Root, o Options) *Family {
	log, _ := test.NewNullLogger()
	return New(Config{Root: root, Log: log}, o)
}

// Beside each tree lie what discover prints of it, and what is left out and what the doctor finds.
func TestGoldenTrees(t *testing.T) {
	trees, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(trees) < 8 {
		t.Fatalf("%d trees, %v", len(trees), err)
	}
	for _, file := range trees {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			root, o := golden(t, name)
			f := family(root, o)
			inv, skipped, err := f.Scan(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var list, words bytes.Buffer
			e := json.NewEncoder(&list)
			e.SetEscapeHTML(false)
			e.SetIndent("", "  ")
			if err := e.Encode(advertise(inv)); err != nil {
				t.Fatal(err)
			}
			for _, s := range skipped {
				fmt.Fprintf(&words, "left out: %s\n", s)
			}
			for _, s := range f.PassedOver(t.Context()) {
				fmt.Fprintf(&words, "passed over: %s\n", s)
			}
			for _, d := range f.Diagnose(t.Context()) {
				fmt.Fprintf(&words, "doctor: %s: %s\n  %s\n", d.Path, d.Reason, d.Remedy)
			}
			text := strings.ReplaceAll(words.String(), root.Dir(), "")
			compare(t, strings.TrimSuffix(file, ".txtar")+".json", list.String())
			compare(t, strings.TrimSuffix(file, ".txtar")+".txt", text)

			plain, _ := golden(t, name, hostfstest.PlainNodes())
			again, _, err := family(plain, o).Scan(t.Context())
			if diff := cmp.Diff(inv, again); err == nil && diff != "" && name != "broken" {
				t.Errorf("with ordinary files for nodes (-want +got):\n%s", diff)
			}
		})
	}
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update && got == "" {
		os.Remove(file)
	} else if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil && (got != "" || !errors.Is(err, fs.ErrNotExist)) {
		t.Fatalf("%v (go test -update writes it; read it before you commit it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
