package dlb_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus/hooks/test"
	"github.com/spf13/pflag"
	"go.uber.org/goleak"

	"github.com/inlay-project/inlay/deviceplugins/dlb"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/plugin/kubelettest"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
	"github.com/inlay-project/inlay/internal/uevent"
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

// newHost makes a tree and the family that looks at it.
func newHost(t testing.TB, name string, opts ...hostfstest.Option) (*dlb.Family, *hostfs.Root) {
	t.Helper()
	dir := t.TempDir()
	if err := hostfstest.ExtractFile(dir, filepath.Join("testdata", name+".txtar"), opts...); err != nil {
		t.Fatal(err)
	}
	root, err := hostfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	log, _ := test.NewNullLogger()
	return dlb.New(dlb.Config{Root: root, Log: log}, dlb.DefaultOptions()), root
}

func look(t testing.TB, f *dlb.Family) (list []advertised, skipped []plugin.Skipped) {
	t.Helper()
	inv, skipped, err := f.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list = []advertised{}
	for resource, devices := range inv {
		for _, d := range devices {
			a := advertised{
				Resource: resource, ID: d.ID, Health: d.Health, Reason: d.Reason, Nodes: []string{}, Mounts: []string{},
				Env: map[string]string{}, Annotations: map[string]string{}, CDI: []string{}, NUMA: append([]int{}, d.NUMA...),
			}
			for _, n := range d.Grant.Nodes {
				if n.HostPath != n.ContainerPath || n.Permissions != "rw" {
					t.Errorf("node %+v", n)
				}
				a.Nodes = append(a.Nodes, n.HostPath)
			}
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b advertised) int {
		return cmp.Or(strings.Compare(a.Resource, b.Resource), strings.Compare(a.ID, b.ID))
	})
	return list, skipped
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
			f, root := newHost(t, name, hostfstest.PlainNodes())
			list, skipped := look(t, f.ReadOnly())
			look(t, f) // for Watch
			var out, words bytes.Buffer
			e := json.NewEncoder(&out)
			e.SetEscapeHTML(false)
			e.SetIndent("", "  ")
			if err := e.Encode(list); err != nil {
				t.Fatal(err)
			}
			compare(t, "testdata/"+name+".json", out.Bytes())
			for _, s := range skipped {
				fmt.Fprintf(&words, "left out: %s\n", s)
			}
			for _, s := range f.PassedOver(t.Context()) {
				fmt.Fprintf(&words, "passed over: %s\n", s)
			}
			for _, finding := range f.Diagnose(t.Context()) {
				fmt.Fprintf(&words, "doctor: %s: %s\n\t%s\n", finding.Path, finding.Reason, finding.Remedy)
			}
			for _, value := range f.Watch().Values {
				fmt.Fprintf(&words, "watched: %s\n", value)
			}
			compare(t, "testdata/"+name+".txt", bytes.ReplaceAll(words.Bytes(), []byte(root.Dir()+"/"), []byte("/")))
		})
	}
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

// What came with the old plugin knew the first card and one VF of it, and gave the plugin all of /dev.
func TestAllCardsAndVFsAreOfferedByTheirNodes_L2(t *testing.T) {
	f, root := newHost(t, "several", hostfstest.PlainNodes())
	list, skipped := look(t, f)
	got := map[string][]string{}
	for _, a := range list {
		got[a.Resource] = append(got[a.Resource], strings.Join(a.Nodes, " "))
	}
	want := map[string][]string{dlb.ResourcePF: {"/dev/dlb0", "/dev/dlb9"}, dlb.ResourceVF: {"/dev/dlb11", "/dev/dlb2"}}
	if diff := gocmp.Diff(want, got); diff != "" || len(skipped) > 0 {
		t.Error(diff, skipped)
	}
	for _, folder := range f.Watch().Folders {
		if folder.Path == root.Join("/dev") && (folder.Match == nil || folder.Match("null") || !folder.Match("dlb12")) {
			t.Error("every name of /dev counts")
		}
	}
}

// A real node has to have the number that the driver says.
func TestANodeOfAnotherNumberIsLeftOut(t *testing.T) {
	f, root := newHost(t, "several")
	if _, err := root.Node("/dev/dlb0"); err != nil {
		t.Skipf("real nodes cannot be made here: %v", err)
	}
	if err := os.Rename(root.Join("/dev/dlb9"), root.Join("/dev/dlb0")); err != nil {
		t.Fatal(err)
	}
	list, skipped := look(t, f)
	var words []string
	for _, s := range skipped {
		words = append(words, s.Reason)
	}
	text := strings.Join(words, "\n")
	if len(list) != 2 || !strings.Contains(text, "is 240:9, sysfs says 240:0") || !strings.Contains(text, "/dev/dlb9 is missing") {
		t.Errorf("%v, left out: %s", list, text)
	}
}

func TestWhatFallsSickStaysUnderItsName(t *testing.T) {
	f, root := newHost(t, "several", hostfstest.PlainNodes())
	look(t, f)
	file := root.Join("/sys/class/dlb2/dlb9/device/sriov_numvfs")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file, 0o755); err != nil { // so it cannot be read
		t.Fatal(err)
	}
	if err := os.Remove(root.Join("/dev/dlb11")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		list, skipped := look(t, f)
		sick := map[string]string{}
		for _, a := range list {
			if a.Health != plugin.Healthy {
				sick[a.Resource+" "+a.ID] = a.Reason
			}
		}
		want := map[string]string{
			"dlb.intel.com/pf /dev/dlb9":  "/sys/class/dlb2/dlb9/device/sriov_numvfs: is a directory",
			"dlb.intel.com/vf /dev/dlb11": "/sys/class/dlb2/dlb11: its node /dev/dlb11 is missing",
		}
		if diff := gocmp.Diff(want, sick); diff != "" || len(list) != 4 || len(skipped) > 0 {
			t.Error(diff, list, skipped)
		}
	}
	for _, value := range f.Watch().Values {
		if value == file {
			return
		}
	}
	t.Error("nobody looks whether it is well again")
}

func TestThereIsNothingToSet(t *testing.T) {
	o := dlb.DefaultOptions()
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	o.AddFlags(set)
	f, _ := newHost(t, "nothing")
	if set.HasFlags() || o.Validate() != nil || f.Configure(o) || f.Name() != "dlb" {
		t.Error("there is something to set")
	}
}

// events is a source of uevents in the test's hand.
type events chan uevent.Event

func (e events) Receive(ctx context.Context) (uevent.Event, error) {
	select {
	case event := <-e:
		return event, nil
	case <-ctx.Done():
		return uevent.Event{}, ctx.Err()
	}
}

func (e events) Close() error { return nil }

func TestTheKubeletFollowsTheCards(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	f, root := newHost(t, "sample", hostfstest.PlainNodes())
	folder, err := os.MkdirTemp("", "dlb") // short enough for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	k := kubelettest.New(filepath.Join(folder, "device-plugins"))
	defer k.Close()
	source := make(events, 10)
	engine, err := plugin.New(plugin.Config{Folder: k.Folder(), Families: []plugin.Family{f}, Events: source, Audit: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	done := make(chan error)
	go func() { done <- engine.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	await := func(resource string, ids ...string) {
		t.Helper()
		r, err := k.Wait(ctx, resource, func(r kubelettest.Resource) bool {
			return r.Lists > 0 && slices.Equal(r.IDs(), ids) && r.Allocatable() == len(ids)
		})
		if err != nil {
			t.Fatalf("%s: %v: %v", resource, err, r.IDs())
		}
	}
	await(dlb.ResourcePF, "/dev/dlb0")
	await(dlb.ResourceVF, "/dev/dlb2")
	answer, err := k.Allocate(ctx, dlb.ResourceVF, "/dev/dlb2")
	if err != nil {
		t.Fatal(err)
	}
	if d := answer.GetDevices(); len(d) != 1 || d[0].GetHostPath() != "/dev/dlb2" || d[0].GetContainerPath() != "/dev/dlb2" || d[0].GetPermissions() != "rw" {
		t.Errorf("nodes %v", d)
	}
	if len(answer.GetEnvs())+len(answer.GetAnnotations())+len(answer.GetMounts())+len(answer.GetCdiDevices()) > 0 {
		t.Errorf("more than the node: %v", answer)
	}

	// The second card gives its VF back: it is there as a whole.
	for file, text := range map[string]string{"/sys/class/dlb2/dlb1/device/sriov_numvfs": "0\n", "/dev/dlb2": "", "/sys/class/dlb2/dlb2": ""} {
		err := os.RemoveAll(root.Join(file))
		if err == nil && text != "" {
			err = os.WriteFile(root.Join(file), []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	source <- uevent.Event{Action: "remove", Subsystem: "dlb2", DevPath: "/devices/virtual/dlb2/dlb2"}
	await(dlb.ResourcePF, "/dev/dlb0", "/dev/dlb1")
	await(dlb.ResourceVF)
}
