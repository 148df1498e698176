package fpga

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/sirupsen/logrus"
	logrustest "github.com/sirupsen/logrus/hooks/test"
	"google.golang.org/grpc"
	v1 "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/bitstream/bitstreamtest"
	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/nodestate"
	"github.com/inlay-project/inlay/internal/podresources"
	"github.com/inlay-project/inlay/internal/policy"
	"github.com/inlay-project/inlay/internal/record"
)

const (
	iface = bitstreamtest.Interface // of the emulated cards
	nlb0  = bitstreamtest.AFU       // what their ports hold at first
	nlb3  = bitstreamtest.OtherAFU
	other = "9926ab6d6c925a68aabca7d84c545738" // another interface

	card0, card1 = "0000:3b:00.0", "0000:82:00.0"
	fme0, fme1   = "dfl-fme.0@" + card0, "dfl-fme.1@" + card1

	regionType = "region-" + iface
)

// host is a node with emulated cards whose nodes are plain files, and an adjuster for it.
type host struct {
	t    *testing.T
	dir  string
	c    Config
	logs *logrustest.Hook
	// silent says that the kubelet answers nobody.
	silent bool
}

func newHost(t *testing.T, cards ...string) *host {
	t.Helper()
	dir := t.TempDir()
	parsed := make([]emulator.Card, len(cards))
	for i, text := range cards {
		var err error
		if parsed[i], err = emulator.ParseCard(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := emulator.WriteTree(dir, parsed, emulator.PlainNodes()); err != nil {
		t.Fatal(err)
	}
	root, err := hostfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	log, logs := logrustest.NewNullLogger()
	h := &host{t: t, dir: dir, logs: logs, c: Config{
		Root: root, RunDir: filepath.Join(dir, "run/inlay"), Store: "/srv/intel.com/fpga",
		Hook: Hook{Root: root, Path: "/opt/inlay/bin/inlay-hook", Timeout: time.Minute}, Log: log,
	}}
	h.write("/opt/inlay/bin/inlay-hook", "#!/bin/sh\n", 0o755)
	h.mode("region")
	return h
}

func (h *host) path(hostPath string) string { return filepath.Join(h.dir, hostPath) }

func (h *host) write(hostPath, content string, perm os.FileMode) {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Dir(h.path(hostPath)), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.path(hostPath), []byte(content), perm); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Chmod(h.path(hostPath), perm); err != nil {
		h.t.Fatal(err)
	}
}

// set changes a sysfs attribute of a device; "" takes it away.
func (h *host) set(device, attribute, value string) {
	h.t.Helper()
	dir, err := filepath.EvalSymlinks(h.path("/sys/bus/platform/devices/" + device))
	if err != nil {
		h.t.Fatal(err)
	}
	file := filepath.Join(dir, attribute)
	if value == "" {
		err = os.Remove(file)
	} else {
		err = os.WriteFile(file, []byte(value+"\n"), 0o644)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

const compatID = "dfl-fme-region.1/fpga_region/region1/compat_id" // of dfl-fme.0

// put stores bitstreams that say of themselves what their place says.
func (h *host) put(afus ...string) *host {
	h.t.Helper()
	for _, afu := range afus {
		if _, err := bitstreamtest.WriteGBS(h.path(h.c.Store), bitstreamtest.GBS{AFU: afu}); err != nil {
			h.t.Fatal(err)
		}
	}
	return h
}

// store puts any content where the store has a function.
func (h *host) store(afu string, content []byte) {
	h.t.Helper()
	if _, err := bitstreamtest.Write(h.path(h.c.Store), iface, afu+".gbs", content); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) mode(mode string) {
	h.t.Helper()
	if err := nodestate.Write(h.c.RunDir, nodestate.State{Mode: mode, Grant: "nri"}); err != nil {
		h.t.Fatal(err)
	}
}

// allow sets a policy for namespace ns.
func (h *host) allow(p policy.Policy) {
	h.t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		h.t.Fatal(err)
	}
	h.write("/var/lib/inlay/policy.json", string(b), 0o600)
	h.c.Policy = h.path("/var/lib/inlay/policy.json")
}

func policyOf(namespace string, n policy.Namespace) policy.Policy {
	return policy.Policy{Format: policy.Format, Synced: time.Now(), Namespaces: map[string]policy.Namespace{namespace: n}}
}

func function(mode policy.Mode, i, fn string) policy.Namespace {
	return policy.Namespace{Functions: []policy.Function{
		{Name: "f", Interface: i, Function: fn, Mode: mode},
	}}
}

// request is a container that is to be created.
type createRequest struct {
	name           string
	env            []string
	annotations    map[string]string
	podAnnotations map[string]string
	user           *api.User
	userns, podns  bool
}

func (c createRequest) messages() (*api.PodSandbox, *api.Container) {
	pod := &api.PodSandbox{Name: "pod", Namespace: "ns", Uid: "u", Annotations: c.podAnnotations, Linux: &api.LinuxPodSandbox{}}
	ctr := &api.Container{
		Id: "c0ffee", Name: c.name, Annotations: c.annotations, Env: c.env, User: c.user, Linux: &api.LinuxContainer{},
	}
	ctr.Linux.Namespaces = []*api.LinuxNamespace{{Type: "pid"}, {Type: "mount"}}
	if c.userns {
		ctr.Linux.Namespaces = append(ctr.Linux.Namespaces, &api.LinuxNamespace{Type: "user"})
	}
	if c.podns {
		pod.Linux.Namespaces = append(pod.Linux.Namespaces, &api.LinuxNamespace{Type: "user", Path: "/proc/1/ns/user"})
	}
	return pod, ctr
}

// adjust asks for a container, and once more if the kubelet was not heard in its half second, as happens on a machine that
// is busy.
func (h *host) adjust(c createRequest) (*api.ContainerAdjustment, error) {
	h.t.Helper()
	adjust, err := h.adjustOnce(c)
	if err != nil && !h.silent && unheard.MatchString(err.Error()) {
		h.t.Logf("asked once more: %v", err)
		return h.adjustOnce(c)
	}
	return adjust, err
}

var unheard = regexp.MustCompile(`podresources .*[dD]eadline`)

func (h *host) adjustOnce(c createRequest) (*api.ContainerAdjustment, error) {
	h.t.Helper()
	if c.name == "" {
		c.name = "ctr"
	}
	pod, ctr := c.messages()
	a := New(h.c)
	if !a.Wants(pod, ctr) {
		h.t.Fatal("the container is not claimed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
	defer cancel()
	return a.Adjust(ctx, pod, ctr)
}

// refused checks that nothing is granted, and that the error says these parts, joined by "…", in their order.
func (h *host) refused(c createRequest, wanted string) {
	h.t.Helper()
	adjust, err := h.adjust(c)
	if err == nil {
		h.t.Errorf("granted: %v, want %q", adjust, wanted)
		return
	}
	if adjust != nil {
		h.t.Errorf("an adjustment beside %v", err)
	}
	rest := err.Error()
	for part := range strings.SplitSeq(wanted, "…") {
		_, after, ok := strings.Cut(rest, part)
		if !ok {
			h.t.Fatalf("%q does not say %q", err, wanted)
		}
		rest = after
	}
	if strings.ContainsAny(err.Error(), "\n\r") {
		h.t.Errorf("%q is more than a line", err)
	}
}

// grantText is what a container gets, a line a node and a hook, for comparison.
func (h *host) granted(c createRequest) string {
	h.t.Helper()
	adjust, err := h.adjust(c)
	if err != nil {
		h.t.Fatalf("refused: %v", err)
	}
	return describe(adjust)
}

func describe(adjust *api.ContainerAdjustment) string {
	var b strings.Builder
	for _, d := range adjust.GetLinux().GetDevices() {
		fmt.Fprintf(&b, "%s %s %d:%d %04o", d.Path, d.Type, d.Major, d.Minor, d.GetFileMode().GetValue())
		if d.Uid != nil {
			fmt.Fprintf(&b, " %d:%d", d.GetUid().GetValue(), d.GetGid().GetValue())
		}
		b.WriteString("\n")
	}
	for _, hook := range adjust.GetHooks().GetCreateRuntime() {
		for _, arg := range hook.Args {
			if strings.Contains(arg, "@") || arg == "af" || arg == "region" || arg == "regiondevel" {
				fmt.Fprintln(&b, arg)
			}
		}
	}
	return b.String()
}

// rec is the annotation of one resource; devices are "<id>@<PCI address>".
func rec(resource string, devices ...string) map[string]string {
	return map[string]string{record.Key(resource): strings.Join(devices, ",")}
}

func merged(maps ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range maps {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

func asks(functions ...string) []string {
	env := []string{"PATH=/bin"}
	for i, fn := range functions {
		env = append(env, fmt.Sprintf("FPGA_REGION_%d=%s", i+1, iface), fmt.Sprintf("FPGA_AFU_%d=%s", i+1, fn))
	}
	return env
}

func afResource(t *testing.T, afu fpga.AFUID) string {
	t.Helper()
	resource, err := fpga.AFResource(iface, afu)
	if err != nil {
		t.Fatal(err)
	}
	return resource
}

// holding is what a kubelet lists: "ns/pod/ctr resource device[,device]".
func (h *host) kubelet(holdings ...string) {
	h.t.Helper()
	k := &fakeKubelet{}
	for _, text := range holdings {
		f := strings.Fields(text)
		who := strings.Split(f[0], "/")
		ctr := &v1.ContainerResources{Name: who[2]}
		if len(f) > 1 {
			ctr.Devices = []*v1.ContainerDevices{{ResourceName: f[1], DeviceIds: strings.Split(f[2], ",")}}
		}
		k.answer.PodResources = append(k.answer.PodResources, &v1.PodResources{
			Namespace: who[0], Name: who[1], Containers: []*v1.ContainerResources{ctr},
		})
	}
	h.serve(k)
}

func (h *host) serve(k *fakeKubelet) {
	h.t.Helper()
	dir, err := os.MkdirTemp("/tmp", "kubelet") // a socket's path has room for 107 bytes
	if err != nil {
		h.t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		h.t.Fatal(err)
	}
	server := grpc.NewServer()
	v1.RegisterPodResourcesListerServer(server, k)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	h.t.Cleanup(func() {
		server.Stop()
		<-done
		os.RemoveAll(dir)
	})
	h.c.Kubelet = podresources.Client{Socket: socket}
	h.silent = k.silent
}

type fakeKubelet struct {
	v1.UnimplementedPodResourcesListerServer
	answer v1.ListPodResourcesResponse
	silent bool
}

func (k *fakeKubelet) List(ctx context.Context, _ *v1.ListPodResourcesRequest) (*v1.ListPodResourcesResponse, error) {
	if k.silent {
		<-ctx.Done()
	}
	return &k.answer, ctx.Err()
}

func (h *host) logged(level logrus.Level, text string) bool {
	for _, e := range h.logs.AllEntries() {
		if e.Level == level && strings.Contains(e.Message, text) {
			return true
		}
	}
	return false
}
