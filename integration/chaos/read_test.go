package chaos

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/integration/ocitest"
)

func TestReadingsAreTakenAsTheyAreWritten(t *testing.T) {
	dir := t.TempDir()
	w, err := newWitnesses(dir)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "p1.abc")
	write := func(text string) {
		t.Helper()
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	next := func(want ...Reading) {
		t.Helper()
		got, err := w.next()
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%v\n%s", err, d)
		}
	}
	next()
	write("10.50 dfl-port.0=" + nlb3 + "\n10.80 dfl-po")
	next(Reading{Pod: "p1", Container: "p1.abc", At: 10500 * time.Millisecond, Ports: map[string]string{"dfl-port.0": nlb3}})
	next()
	write("rt.0=!afu-read:_no_such_device\n11.00\n")
	next(
		Reading{Pod: "p1", Container: "p1.abc", At: 10800 * time.Millisecond, Ports: map[string]string{"dfl-port.0": "!afu-read:_no_such_device"}},
		Reading{Pod: "p1", Container: "p1.abc", At: 11 * time.Second, Ports: map[string]string{}},
	)
	if d := cmp.Diff(map[string]map[string]time.Duration{"p1": {"p1.abc": 10500 * time.Millisecond}}, w.began); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"x dfl-port.0=1\n", "12.0 dfl-port.0\n", "\n"} {
		file = filepath.Join(dir, "p2."+fmt.Sprint(len(bad)))
		write(bad)
		if got, err := w.next(); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
}

// checkpoint is a kubelet's file for one pod.
func checkpoint(t *testing.T, uid, device, written string) []byte {
	t.Helper()
	answer := &pluginapi.ContainerAllocateResponse{}
	if written != "" {
		answer.Annotations = map[string]string{"allocated." + regionResource: written}
	}
	data, err := proto.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, `{"Data":{"PodDeviceEntries":[
		{"PodUID":"other","ContainerName":"c","ResourceName":"gpu.intel.com/xe","DeviceIDs":{"0":["card0"]},"AllocResp":""},
		{"PodUID":%q,"ContainerName":"main","ResourceName":%q,"DeviceIDs":{"-1":[%q]},"AllocResp":%q}],"RegisteredDevices":{}},"Checksum":1}`,
		uid, regionResource, device, base64.StdEncoding.EncodeToString(data))
}

func TestTheKubeletsBooksSayWhoWasGivenWhat(t *testing.T) {
	b := newBooks(filepath.Join(t.TempDir(), "none"))
	if err := b.read(); err != nil {
		t.Errorf("before the first answer: %v", err)
	}
	if _, err := b.record("u1"); err == nil {
		t.Error("a pod that was given nothing has a record")
	}
	for _, data := range [][]byte{
		checkpoint(t, "u1", "dfl-fme.0", "dfl-fme.0@0000:82:00.0"),
		checkpoint(t, "u2", "dfl-fme.1", "dfl-fme.0@0000:82:00.0"), // u1 is forgotten by the kubelet
		checkpoint(t, "u3", "dfl-fme.1", ""),
		checkpoint(t, "u4", "dfl-fme.1", "dfl-fme.1"),
	} {
		if err := b.add(data); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := b.record("u1"); err != nil || !cmp.Equal(got, []string{"dfl-fme.0"}) {
		t.Errorf("u1: %q, %v", got, err)
	}
	for uid, want := range map[string]string{"u2": "the kubelet chose", "u3": "the kubelet chose", "u4": "is not <device>@<PCI address>", "other": "no answer"} {
		if got, err := b.record(uid); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v, want %q", uid, got, err, want)
		}
	}
	if err := b.add([]byte("{")); err == nil {
		t.Error("half a file is read")
	}
}

func TestTheKernelsViewOfThisProcess(t *testing.T) {
	pid := os.Getpid()
	since, ok := startOf(pid)
	if now := sinceBoot(); !ok || since <= 0 || since > now {
		t.Errorf("it began at %v, now is %v", since, now)
	}
	if _, ok := startOf(1 << 30); ok {
		t.Error("a process that is not there lives")
	}
	// /dev/null is 1:3.
	k := kernel{numbers: map[string]string{"1:3": "dfl-port.0"}, majors: map[uint32]bool{1: true}, sandboxes: map[string]bool{}}
	nodes, err := k.nodes(pid)
	if err != nil || !strings.Contains(strings.Join(nodes, " "), "dfl-port.0") || strings.Contains(strings.Join(nodes, " "), "5:") {
		t.Errorf("nodes %q, %v", nodes, err)
	}
}

func TestASandboxIsKnownByItsAnnotation(t *testing.T) {
	for text, want := range map[string]bool{
		`{"annotations":{"io.kubernetes.cri.container-type":"sandbox"}}`:     true,
		`{"annotations":{"io.kubernetes.cri-o.ContainerType":"sandbox"}}`:    true,
		`{"annotations":{"io.kubernetes.cri.container-type":"container"}}`:   false,
		`{"annotations":{"io.kubernetes.cri-o.ContainerType":"container"}} `: false,
		`{}`: false, `{"annotations":`: false,
	} {
		if got := ofSandbox([]byte(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestOnlyOurOwnWordsAreOurs(t *testing.T) {
	for text, want := range map[string]bool{
		`Container image "` + ocitest.WorkloadName + `" already present`: false,
		"inlay-nri refused pod":                       true,
		"error running createRuntime hook: FPGA port": true,
		"back-off restarting failed container":        false,
	} {
		if got := mentionsInlay(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
