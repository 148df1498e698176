package npu

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/testing/protocmp"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/deviceplugins/familytest"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// L3: without /sys/class/accel the plugin of the reference exited. Here the class comes, goes and comes back, and the
// kubelet hears of it.
func TestAClassThatComesAndGoesReachesTheKubelet_L3(t *testing.T) {
	root := familytest.Tree(t, []byte("-- dev/null --\nc 1:3\n"))
	// Without a device the engine looks once in 12 audits.
	f := family(root, parse(t, "--npu-shared-dev-num=2"))
	n := familytest.NewNode(t, plugin.Config{Families: []plugin.Family{f}, Audit: 20 * time.Millisecond, Linger: 100 * time.Millisecond})
	n.Run()
	plug := func() {
		t.Helper()
		if err := hostfstest.ExtractFile(root.Dir(), "testdata/npu.txtar"); err != nil {
			t.Fatal(err)
		}
	}
	plug()
	n.Await(Resource, 2, "accel0-0", "accel0-1")
	for _, path := range []string{"/sys", "/dev/accel"} { // the driver is unloaded
		if err := os.RemoveAll(root.Join(path)); err != nil {
			t.Fatal(err)
		}
	}
	n.Await(Resource, 0)
	plug()
	n.Await(Resource, 2, "accel0-0", "accel0-1")
	answer, err := n.Allocate(Resource, "accel0-1", "accel0-0")
	want := &v1beta1.ContainerAllocateResponse{
		Devices: []*v1beta1.DeviceSpec{{HostPath: "/dev/accel/accel0", ContainerPath: "/dev/accel/accel0", Permissions: "rw"}},
	}
	if diff := cmp.Diff(want, answer, protocmp.Transform()); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestAScanThatKnowsNothingIsAnError(t *testing.T) {
	f := family(familytest.Tree(t, []byte("-- sys/class/accel --\n-> accel\n")), DefaultOptions())
	if inv, _, err := f.Scan(t.Context()); err == nil || inv != nil {
		t.Errorf("%v, %v", inv, err)
	}
	if findings := f.Diagnose(t.Context()); len(findings) != 1 || findings[0].Path != classDir {
		t.Errorf("the doctor says %v", findings)
	}
}

func TestOptions(t *testing.T) {
	for flag, ok := range map[string]bool{"1": true, "10000": true, "0": false, "-1": false, "10001": false} {
		o := DefaultOptions()
		set := pflag.NewFlagSet("npu", pflag.ContinueOnError)
		o.AddFlags(set)
		if err := set.Parse([]string{"--npu-shared-dev-num=" + flag}); err != nil {
			t.Fatal(err)
		}
		if err := o.Validate(); (err == nil) != ok || err != nil && !strings.HasPrefix(err.Error(), "npu-shared-dev-num: "+flag) {
			t.Errorf("%s: %v", flag, err)
		}
	}
	f := family(familytest.Tree(t, nil), DefaultOptions())
	if f.Configure(DefaultOptions()) || !f.Configure(Options{SharedDevNum: 3}) || f.o.SharedDevNum != 3 {
		t.Error("Configure does not tell a change from none, or does not make it")
	}
}

// A unit that is sick stays in the list, unhealthy, for as long as it is there.
func TestAUnitThatCannotBeReadAnyMoreIsUnhealthy(t *testing.T) {
	root, o := golden(t, "shared")
	f := family(root, o)
	check := func(reason string) {
		t.Helper()
		inv, skipped, err := f.Scan(t.Context())
		if err != nil || len(skipped) > 0 || len(inv[Resource]) != 4 {
			t.Fatalf("%v, %v, left out: %v", inv, err, skipped)
		}
		for _, d := range inv[Resource] {
			want := reason
			if strings.HasPrefix(d.ID, "accel2-") {
				want = ""
			}
			if (d.Health == plugin.Healthy) != (want == "") || !strings.Contains(d.Reason, want) {
				t.Errorf("%s is %s: %s; want %q", d.ID, d.Health, d.Reason, want)
			}
		}
		if sick := reason != ""; sick != (len(f.Watch().Values) == 0) {
			t.Error("a sick unit is looked at again by values only, or a good one all the time")
		}
	}
	node := root.Join("/dev/accel/accel10")
	check("")
	if err := os.Rename(node, node+"~"); err != nil {
		t.Fatal(err)
	}
	check("there is no node /dev/accel/accel10")
	check("there is no node /dev/accel/accel10") // it is not forgotten
	if err := os.Rename(node+"~", node); err != nil {
		t.Fatal(err)
	}
	check("")
	if err := os.Remove(root.Join("/sys/class/accel/accel10")); err != nil {
		t.Fatal(err)
	}
	if inv, _, _ := f.Scan(t.Context()); len(inv[Resource]) != 2 {
		t.Errorf("a unit that is gone is still there: %v", inv)
	}
}

// The kernel gives the name of a unit that is gone to the next one.
func TestAnotherUnitOfTheSameNameIsNotTheOldOneSick(t *testing.T) {
	root, o := golden(t, "shared")
	f := family(root, o)
	if _, _, err := f.Scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	link := root.Join("/sys/class/accel/accel10")
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("accel2", link); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(root.Join("/dev/accel/accel10")); err != nil {
		t.Fatal(err)
	}
	inv, skipped, err := f.Scan(t.Context())
	if err != nil || len(inv[Resource]) != 2 || len(skipped) != 1 {
		t.Errorf("%v, left out: %v, %v", inv, skipped, err)
	}
}

func TestWhatIsWatched(t *testing.T) {
	root, o := golden(t, "npu")
	w := family(root, o).Watch()
	if diff := cmp.Diff([]string{root.Join("/sys/class/accel")}, w.Values); diff != "" || !slices.Equal(w.Subsystems, []string{"accel"}) {
		t.Errorf("%v, %s", w.Subsystems, diff)
	}
	if len(w.Folders) != 1 || w.Folders[0].Path != root.Join("/dev/accel") || !w.Folders[0].Match("accel0") || w.Folders[0].Match("x") {
		t.Errorf("%+v", w.Folders)
	}
}

func FuzzNames(f *testing.F) {
	for _, seed := range []string{"accel0", "accel12", "accel", "accelx", "accel-1", "accel99999999999999999999", "accel٣"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		n := number(name)
		if n < -1 || n >= 0 && (!strings.HasPrefix(name, "accel") || strings.ContainsAny(name, "/. -")) {
			t.Errorf("%q is unit %d", name, n)
		}
	})
}
