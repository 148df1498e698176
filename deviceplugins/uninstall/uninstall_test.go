package uninstall_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/deviceplugins/config"
	"github.com/inlay-project/inlay/deviceplugins/uninstall"
	"github.com/inlay-project/inlay/integration/kubelet"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/unixsock"
)

const (
	plugins = "var/lib/kubelet/device-plugins"
	gate    = "hooks: [{path: /opt/inlay/bin/inlay-hook, args: [inlay-hook, gate]}]\n"
	theirs  = "hooks: [{path: /opt/intel/fpga-sw/intel-fpga-crihook}]\n"
)

// tree is a host tree in a folder whose path leaves room for a socket's name.
type tree struct {
	t   *testing.T
	dir string
}

func newTree(t *testing.T) *tree {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "un")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &tree{t: t, dir: dir}
}

func (h *tree) path(name string) string { return filepath.Join(h.dir, name) }

// put makes a file, or what its text says: "-> target", "FIFO", "DIR", "LINKS", "SOCKET" as Inlay makes it, "THEIR SOCKET".
func (h *tree) put(name, text string) {
	h.t.Helper()
	file := h.path(name)
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	target, link := strings.CutPrefix(text, "-> ")
	switch {
	case err != nil:
	case link:
		err = os.Symlink(target, file)
	case text == "FIFO":
		err = unix.Mkfifo(file, 0o600)
	case text == "LINKS":
		err = errors.Join(os.MkdirAll(file, 0o755), os.Symlink("../card0", file+"/pci-0000:3b:00.0-card"))
	case text == "DIR":
		err = os.MkdirAll(file, 0o755)
	case text == "SOCKET":
		var l *unixsock.Listener
		if l, err = unixsock.Listen(file); err == nil {
			err = l.Close() // as of a process that was killed
		}
	case text == "THEIR SOCKET":
		err = h.theirs(name).Close()
	default:
		err = os.WriteFile(file, []byte(text), 0o600)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// theirs makes a socket as another plugin does, and serves it.
func (h *tree) theirs(name string) *net.UnixListener {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Dir(h.path(name)), 0o755); err != nil {
		h.t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: h.path(name), Net: "unix"})
	if err != nil {
		h.t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	h.t.Cleanup(func() { l.Close() })
	return l
}

// list gives everything in the tree but the host's usual folders.
func (h *tree) list() []string {
	h.t.Helper()
	var found []string
	err := filepath.WalkDir(h.dir, func(path string, e fs.DirEntry, err error) error {
		name, _ := filepath.Rel(h.dir, path)
		if err == nil && (!e.IsDir() || strings.Contains(name, "inlay")) {
			found = append(found, name)
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

func (h *tree) node(out *strings.Builder) uninstall.Node {
	return uninstall.Node{
		Plugins: h.path(plugins), CDI: h.path("run/cdi"), Hook: h.path("opt/inlay/bin"), RunDir: h.path("run/inlay"),
		HooksDs: []string{h.path("etc/containers/oci/hooks.d"), h.path("usr/share/containers/oci/hooks.d")},
		State:   []string{h.path("var/lib/inlay/policy.json"), h.path("var/lib/inlay/configuration.yaml")}, Out: out,
	}
}

// ours is everything that Inlay's processes leave on a host, in the order in which it is to go; what is below a folder of
// links goes with it.
func ours() [][2]string {
	return [][2]string{
		{plugins + "/.4711-0a1b2c3d.sock", "SOCKET"},
		{plugins + "/dlb.intel.com-pf.sock", "SOCKET"},
		{plugins + "/dsa.intel.com-wq-user-shared.sock", "SOCKET"},
		{plugins + "/fpga.intel.com-af-695.d84.x.sock", "SOCKET"},
		{plugins + "/fpga.intel.com-region-69528d~0a1b2c3d4e5f.sock", "SOCKET"},
		{plugins + "/gpu.intel.com-xe.sock", "SOCKET"},
		{plugins + "/iaa.intel.com-wq-user-shared.sock", "SOCKET"},
		{plugins + "/npu.intel.com-accel.sock", "SOCKET"},
		{plugins + "/qat.intel.com-cy.sock", "SOCKET"},
		{plugins + "/sgx.intel.com-enclave.sock", "SOCKET"},
		{"etc/containers/oci/hooks.d/.inlay-fpga.json.123", "{}"},
		{"etc/containers/oci/hooks.d/inlay-fpga.json", "{}"},
		{"run/cdi/.intel.cdi.k8s.io-fpga-gate.yaml.123", ""},
		{"run/cdi/intel.cdi.k8s.io-fpga-dfl-fme.0.yaml", gate},
		{"run/cdi/intel.cdi.k8s.io-fpga-gate.yaml", gate},
		{"run/cdi/intel.cdi.k8s.io-fpga-hook.yaml", gate},
		{"run/cdi/.intel.cdi.k8s.io-gpu-card0.yaml.123", ""},
		{"run/cdi/intel.cdi.k8s.io-gpu-card0.yaml", "kind: intel.cdi.k8s.io/gpu\n"},
		{"run/cdi/intel.cdi.k8s.io-sgx-efivarfs.yaml", "kind: intel.cdi.k8s.io/sgx\n"},
		{"opt/inlay/bin/.inlay-hook-host.ABC", "half"},
		{"opt/inlay/bin/.inlay-hook.123", "half"},
		{"opt/inlay/bin/inlay-hook", "-> inlay-hook-v2-4e5f6a7b"},
		{"opt/inlay/bin/inlay-hook-v1-0a1b2c3d", "v1"},
		{"opt/inlay/bin/inlay-hook-v2-4e5f6a7b", "v2"},
		{"run/inlay/gpu/by-path/.card1~4711", "DIR"},
		{"run/inlay/gpu/by-path/card0", "LINKS"},
		{"run/inlay/gpu/joined/.new-4711", "LINKS"},
		{"run/inlay/gpu/joined/0123456789abcdef0123456789abcdef", "LINKS"},
		{"run/inlay/.node.json.123", ""},
		{"run/inlay/claim-0000:3b:00.0-dfl-port.0", ""},
		{"run/inlay/load-0000:3b:00.0-0.json", "{}"},
		{"run/inlay/lock-0000:3b:00.0", ""},
		{"run/inlay/lock-choice", ""},
		{"run/inlay/node.json", "{}"},
		{"run/inlay/nri.sock", "SOCKET"},
		{"run/inlay/programs.jsonl", "{}\n"},
		{"run/inlay/touched", ""},
	}
}

func TestNothingIsLeftBehindAndNothingOfOthersIsTaken(t *testing.T) {
	h := newTree(t)
	for _, f := range [][2]string{
		{plugins + "/kubelet.sock", "SOCKET"},
		{plugins + "/kubelet_internal_checkpoint", "{}"},
		{plugins + "/gpu.intel.com-i915.sock", "THEIR SOCKET"},
		{plugins + "/vpu.intel.com-x.sock", "SOCKET"}, // of no family
		{plugins + "/fpga.intel.com-notes.txt", "not a socket"},
		{plugins + "/fpga.intel.com-a-file.sock", "not a socket"},
		{"etc/containers/oci/hooks.d/other.json", "{}"},
		{"run/cdi/nvidia.com-gpu.yaml", theirs},
		{"run/cdi/intel.cdi.k8s.io-fpga-dfl-fme.1.yaml", theirs}, // of an earlier plugin
		{"run/cdi/intel.cdi.k8s.io-fpga-link.yaml", "-> ../../etc/containers/oci/hooks.d/other.json"},
		{"run/cdi/intel.cdi.k8s.io-fpga-fifo.yaml", "FIFO"},
		{"run/cdi/intel.cdi.k8s.io-gpu-extra-card1.yaml", "kind: intel.cdi.k8s.io/gpu-extra\n"},
		{"run/cdi/intel.cdi.k8s.io-gpu-link.yaml", "-> intel.cdi.k8s.io-gpu-card0.yaml"},
		{"run/cdi/gpu.yaml", "kind: intel.cdi.k8s.io/gpu\n"},
		{"run/cdi/intel.cdi.k8s.io-qat-x.yaml", "kind: intel.cdi.k8s.io/qat\n"},
		{"srv/intel.com/fpga/695/d84.gbs", "bitstream"},
		{"var/lib/kubelet/config.yaml", ""},
	} {
		h.put(f[0], f[1])
	}
	before := h.list()
	var want strings.Builder
	for _, f := range ours() {
		h.put(f[0], f[1])
	}
	for _, f := range ours() {
		want.WriteString("removed  " + h.path(f[0]) + "\n")
		switch f[0] {
		case "opt/inlay/bin/inlay-hook-v2-4e5f6a7b":
			want.WriteString("removed  " + h.path("opt/inlay/bin") + "\nremoved  " + h.path("opt/inlay") + "\n")
		case "run/inlay/gpu/by-path/card0":
			want.WriteString("removed  " + h.path("run/inlay/gpu/by-path") + "\n")
		case "run/inlay/gpu/joined/0123456789abcdef0123456789abcdef":
			want.WriteString("removed  " + h.path("run/inlay/gpu/joined") + "\nremoved  " + h.path("run/inlay/gpu") + "\n")
		case "run/inlay/touched":
			want.WriteString("removed  " + h.path("run/inlay") + "\n")
		}
	}
	state := []string{".configuration.yaml.12", ".policy.json.12", "configuration.yaml", "policy.json"}
	for _, name := range state {
		h.put("var/lib/inlay/"+name, "{}")
	}

	var out strings.Builder
	if err := h.node(&out).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range state {
		want.WriteString("left     " + h.path("var/lib/inlay/"+name) + ": --purge takes it too\n")
	}
	if diff := cmp.Diff(want.String(), out.String()); diff != "" {
		t.Errorf("printed (-want +got):\n%s", diff)
	}
	out.Reset()
	purge := h.node(&out)
	purge.Purge = true
	if err := purge.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "removed  "+h.path("var/lib/inlay/policy.json")+"\nremoved  "+h.path("var/lib/inlay")+"\n") {
		t.Errorf("printed:\n%s", &out)
	}
	if diff := cmp.Diff(before, h.list()); diff != "" {
		t.Errorf("the host (-before +after):\n%s", diff)
	}
	out.Reset()
	if err := purge.Run(t.Context()); err != nil || out.Len() > 0 {
		t.Errorf("once more: %v\n%s", err, &out)
	}
}

func TestWhatIsNotOursKeepsItsFolder(t *testing.T) {
	h := newTree(t)
	h.put("opt/inlay/bin/inlay-hook", "-> inlay-hook-v1-0a1b2c3d")
	h.put("opt/inlay/bin/inlay-hook-v1-0a1b2c3d", "v1")
	h.put("opt/inlay/bin/inlay-deviceplugin", "by hand")
	h.put("run/inlay/touched", "")
	h.put("run/inlay/notes", "somebody's")
	h.put("run/inlay/lock-folder", "DIR")
	h.put("run/inlay/gpu/by-path/card0/notes", "somebody's")
	h.put("run/inlay/gpu/by-path/card1", "-> ../../../../etc")
	h.put("run/inlay/load-x.json", "-> ../../etc/passwd")
	h.put("etc/passwd", "root")
	h.put("usr/local/bin/inlay-hook", "elsewhere")
	var out strings.Builder
	if err := h.node(&out).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"etc/passwd", "opt/inlay", "opt/inlay/bin", "opt/inlay/bin/inlay-deviceplugin", "run/inlay", "run/inlay/gpu", "run/inlay/gpu/by-path", "run/inlay/gpu/by-path/card0",
		"run/inlay/gpu/by-path/card0/notes", "run/inlay/gpu/by-path/card1", "run/inlay/lock-folder", "run/inlay/notes",
		"usr/local/bin/inlay-hook",
	}
	if diff := cmp.Diff(want, h.list()); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	for _, dir := range []string{"opt/inlay/bin", "run/inlay"} {
		if line := "left     " + h.path(dir) + ": there is more in it than this takes away\n"; !strings.Contains(out.String(), line) {
			t.Errorf("no %q in:\n%s", line, &out)
		}
	}
	other := h.node(&out)
	other.Hook = h.path("usr/local/bin")
	if err := other.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(h.path("usr/local/bin")); err != nil {
		t.Errorf("a folder that is not called after us: %v", err)
	}
}

// A hooks.d JSON without its program is passed over: as long as one is there, so must the program be.
func TestWhatCannotBeTakenAwayKeepsWhatComesAfterIt(t *testing.T) {
	for _, place := range []string{"etc/containers/oci/hooks.d", "run/cdi"} {
		t.Run(place, func(t *testing.T) {
			h := newTree(t)
			for _, f := range ours() {
				if !strings.HasPrefix(f[0], place) {
					h.put(f[0], f[1])
				}
			}
			h.put(place, "a file in the folder's place")
			var out strings.Builder
			err := h.node(&out).Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), h.path(place)) {
				t.Error(err)
			}
			if got := h.list(); !slices.Contains(got, "opt/inlay/bin/inlay-hook") || !slices.Contains(got, "opt/inlay/bin/inlay-hook-v2-4e5f6a7b") {
				t.Errorf("left: %q", got)
			}
			if strings.Contains(out.String(), h.path("opt")) {
				t.Errorf("printed:\n%s", &out)
			}
			if err := os.Remove(h.path(place)); err != nil {
				t.Fatal(err)
			}
			if err := h.node(&out).Run(t.Context()); err != nil {
				t.Error(err)
			}
			if got := h.list(); len(got) != 0 {
				t.Errorf("the second time it left %q", got)
			}
		})
	}
}

// startKubelet starts a kubelet in the tree that ends with the test.
func startKubelet(t *testing.T, h *tree) *kubelet.Kubelet {
	t.Helper()
	k, err := kubelet.Start(h.path("var/lib/kubelet"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Stop(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// What a family has on the host beside sockets is needed again by its pods; what another plugin serves may need it too.
func TestWhatOthersStillNeedStaysUntilTheyAreGone(t *testing.T) {
	h := newTree(t)
	k := startKubelet(t, h)
	const file, other, links = "run/cdi/intel.cdi.k8s.io-gpu-card0.yaml", "run/cdi/intel.cdi.k8s.io-sgx-efivarfs.yaml", "run/inlay/gpu/by-path/card0"
	h.put(file, "kind: intel.cdi.k8s.io/gpu\n")
	h.put(other, "kind: intel.cdi.k8s.io/sgx\n")
	h.put(links, "LINKS")
	pod := kubelet.Owner{Namespace: "ns", Pod: "one", Container: "c"}
	run := func(force bool) string {
		t.Helper()
		var out strings.Builder
		n := h.node(&out)
		n.PodResources, n.Force = h.path("var/lib/kubelet/pod-resources/kubelet.sock"), force
		if err := n.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(out.String(), h.dir+"/", "")
	}

	k.Claim(pod, "gpu.intel.com/xe", "card0-0")
	const held = ": pods hold devices of gpu.intel.com, delete them first: ns/one\n"
	want := "left     " + file + held + "removed  " + other + "\nleft     " + links + held + "left     run/inlay: there is more in it than this takes away\n"
	if diff := cmp.Diff(want, run(false)); diff != "" {
		t.Errorf("a pod has it (-want +got):\n%s", diff)
	}
	served := h.theirs(plugins + "/gpu.intel.com-i915.sock")
	const theirs = "left     " + file + ": another device plugin serves gpu.intel.com-i915.sock, and may need it\n"
	want = theirs + "removed  " + links + "\nremoved  run/inlay/gpu/by-path\nremoved  run/inlay/gpu\nremoved  run/inlay\n"
	if diff := cmp.Diff(want, run(true)); diff != "" {
		t.Errorf("another plugin serves, by force (-want +got):\n%s", diff)
	}
	k.Free(pod)
	if diff := cmp.Diff(theirs, run(false)); diff != "" {
		t.Errorf("another plugin serves (-want +got):\n%s", diff)
	}
	served.Close()
	if diff := cmp.Diff("removed  "+file+"\n", run(false)); diff != "" {
		t.Errorf("nobody is left (-want +got):\n%s", diff)
	}
}

// A Job that refuses is not made anew by itself.
func TestAKubeletThatDoesNotAnswerAtOnceIsAskedAgain(t *testing.T) {
	h := newTree(t)
	k := startKubelet(t, h)
	root, err := hostfs.New(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	n := h.node(new(strings.Builder))
	n.Root, n.PodResources = root, k.PodResourcesSocket()
	k.Claim(kubelet.Owner{Namespace: "ns", Pod: "one", Container: "c"}, "fpga.intel.com/region-x", "dfl-fme.0")

	k.SetSilent(true)
	answer := make(chan []string, 1)
	go func() { answer <- n.Holders(t.Context()) }()
	for k.Waiting() == 0 && len(answer) == 0 {
		time.Sleep(time.Millisecond)
	}
	k.SetSilent(false) // the question that waits is not answered any more
	if diff := cmp.Diff([]string{"pods hold FPGAs, delete them first: ns/one"}, <-answer); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Of each family a socket of Inlay's that is served is a reason to refuse, and another plugin's is none, but for FPGAs.
func TestADevicePluginThatServesIsAReason(t *testing.T) {
	for _, family := range config.Known() {
		t.Run(family, func(t *testing.T) {
			h := newTree(t)
			var out strings.Builder
			n := h.node(&out)
			root, err := hostfs.New(h.dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			n.Root = root
			name := family + ".intel.com-x.sock"
			socket := h.theirs(plugins + "/" + name)
			reason := []string{"a device plugin serves " + name + ": stop it first"}
			var want []string
			if family == "fpga" {
				want = reason
			}
			if diff := cmp.Diff(want, n.Reasons(t.Context())); diff != "" {
				t.Errorf("another plugin's (-want +got):\n%s", diff)
			}
			socket.Close()
			l, err := unixsock.Listen(h.path(plugins + "/" + name))
			if err != nil {
				t.Fatal(err)
			}
			for what, got := range map[string][]string{"whole": n.Reasons(t.Context()), "check": n.Holders(t.Context())} {
				if diff := cmp.Diff(reason, got); diff != "" {
					t.Errorf("Inlay's, %s (-want +got):\n%s", what, diff)
				}
			}
			l.Close()
			if got := n.Reasons(t.Context()); len(got) > 0 {
				t.Errorf("of one that was killed: %q", got)
			}
			if err := n.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := h.list(); len(got) > 0 {
				t.Errorf("left: %q", got)
			}
		})
	}
}
