package kubelet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/integration/cri"
)

const earlierCheckpoint = "../testdata/earlier/kubelet_internal_checkpoint"

func TestAnswersOfACheckpointAreGivenAgain(t *testing.T) {
	k, err := Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Stop(); err != nil {
			t.Error(err)
		}
	})
	region := Owner{Namespace: "ns", Pod: "region", Container: "main"}
	sidecar := Owner{Namespace: "ns", Pod: "af", Container: "sidecar"}
	err = k.Restore(earlierCheckpoint, map[string]Owner{
		"00000001-0000-4000-8000-000000000001": region, "00000001-0000-4000-8000-000000000002": sidecar,
	})
	if err != nil {
		t.Fatal(err)
	}
	const resource = "fpga.intel.com/region-69528db6eb31577a8c3668f9faa081f6"
	got, err := k.Allocate(t.Context(), region, nil) // from memory: no plugin is there
	if err != nil {
		t.Fatal(err)
	}
	want := Answer{
		Devices:     map[string][]string{resource: {"dfl-fme.0"}},
		Annotations: map[string]string{"com.intel.fpga.mode": "fpga.intel.com/region"},
		CDIDevices:  []string{"intel.cdi.k8s.io/fpga=dfl-fme.0"},
		Nodes:       []cri.Device{{HostPath: "/dev/dfl-port.0", ContainerPath: "/dev/dfl-port.0", Permissions: "rw"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !k.isTaken(resource, "dfl-fme.0") {
		t.Error("its device is free")
	}
	if got := k.Claimed(sidecar); len(got) != 0 {
		t.Errorf("a container of another name has %v", got)
	}
}

func TestACheckpointThatCannotBeReadIsAnError(t *testing.T) {
	k := &Kubelet{}
	bad := filepath.Join(t.TempDir(), "checkpoint")
	for text, want := range map[string]string{
		`{"Data":`: "unexpected end",
		`{"Data":{"PodDeviceEntries":[{"PodUID":"u","ContainerName":"c","AllocResp":"/////w=="}]}}`: "answer of",
	} {
		if err := os.WriteFile(bad, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := k.Restore(bad, map[string]Owner{"u": {Container: "c"}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := k.Restore(bad+"-none", nil); err == nil {
		t.Error("no file, no error")
	}
}
