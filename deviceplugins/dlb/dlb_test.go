package dlb_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus/hooks/test"
	"github.com/spf13/pflag"

	"github.com/inlay-project/inlay/deviceplugins/dlb"
	"github.com/inlay-project/inlay/deviceplugins/familytest"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
	"github.com/inlay-project/inlay/internal/uevent"
)

// newHost makes a tree and the family that looks at it.
func newHost(t testing.TB, name string, opts ...hostfstest.Option) (*dlb.Family, *hostfs.Root) {
	t.Helper()
	root, _ := familytest.Golden(t, name, opts...)
	log, _ := test.NewNullLogger()
	return dlb.New(dlb.Config{Root: root, Log: log}, dlb.DefaultOptions()), root
}

func look(t testing.TB, f *dlb.Family) ([]familytest.Device, []plugin.Skipped) {
	t.Helper()
	inv, skipped := familytest.Scan(t, f)
	return familytest.Devices(inv), skipped
}

// Every tree: what discover prints (NAME.json), and what it leaves out, what doctor says, what is read every 5 s (NAME.txt).
func TestGoldenTrees(t *testing.T) {
	familytest.EachTree(t, "testdata", 1, func(t *testing.T, name string) {
		f, root := newHost(t, name, hostfstest.PlainNodes())
		list, skipped := look(t, f.ReadOnly())
		look(t, f) // for Watch
		familytest.Compare(t, "testdata/"+name+".json", familytest.JSON(t, list))
		words := familytest.Lines("left out", skipped) + familytest.Lines("passed over", f.PassedOver(t.Context())) +
			familytest.Findings("doctor", "\t", f.Diagnose(t.Context())) + familytest.Lines("watched", f.Watch().Values)
		familytest.Compare(t, "testdata/"+name+".txt", strings.ReplaceAll(words, root.Dir()+"/", "/"))
	})
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
	if diff := cmp.Diff(want, got); diff != "" || len(skipped) > 0 {
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
		if diff := cmp.Diff(want, sick); diff != "" || len(list) != 4 || len(skipped) > 0 {
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

func TestTheKubeletFollowsTheCards(t *testing.T) {
	familytest.NoLeaks(t)
	f, root := newHost(t, "sample", hostfstest.PlainNodes())
	source := make(familytest.Events, 10)
	n := familytest.NewNode(t, plugin.Config{Families: []plugin.Family{f}, Events: source, Audit: time.Hour})
	n.Run()
	n.Await(dlb.ResourcePF, 1, "/dev/dlb0")
	n.Await(dlb.ResourceVF, 1, "/dev/dlb2")
	answer, err := n.Allocate(dlb.ResourceVF, "/dev/dlb2")
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
	n.Await(dlb.ResourcePF, 2, "/dev/dlb0", "/dev/dlb1")
	n.Await(dlb.ResourceVF, 0)
}
