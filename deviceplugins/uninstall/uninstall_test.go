package uninstall_test

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/deviceplugins/uninstall"
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

// put makes a file, or what its text says: "-> target", "FIFO", "SOCKET", "DIR".
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
	case text == "DIR":
		err = os.MkdirAll(file, 0o755)
	case text == "SOCKET":
		var l *net.UnixListener
		if l, err = net.ListenUnix("unix", &net.UnixAddr{Name: file, Net: "unix"}); err == nil {
			l.SetUnlinkOnClose(false)
			err = l.Close()
		}
	default:
		err = os.WriteFile(file, []byte(text), 0o600)
	}
	if err != nil {
		h.t.Fatal(err)
	}
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
		Policy:  h.path("var/lib/inlay/policy.json"), Out: out,
	}
}

// ours is everything that Inlay's processes leave on a host, in the order in which it is to go.
func ours() [][2]string {
	return [][2]string{
		{plugins + "/.4711-0a1b2c3d.sock", "SOCKET"},
		{plugins + "/fpga.intel.com-af-695.d84.x.sock", "SOCKET"},
		{plugins + "/fpga.intel.com-region-69528d~0a1b2c3d4e5f.sock", "SOCKET"},
		{"etc/containers/oci/hooks.d/.inlay-fpga.json.123", "{}"},
		{"etc/containers/oci/hooks.d/inlay-fpga.json", "{}"},
		{"run/cdi/.intel.cdi.k8s.io-fpga-gate.yaml.123", ""},
		{"run/cdi/intel.cdi.k8s.io-fpga-dfl-fme.0.yaml", gate},
		{"run/cdi/intel.cdi.k8s.io-fpga-gate.yaml", gate},
		{"run/cdi/intel.cdi.k8s.io-fpga-hook.yaml", gate},
		{"opt/inlay/bin/.inlay-hook-host.ABC", "half"},
		{"opt/inlay/bin/.inlay-hook.123", "half"},
		{"opt/inlay/bin/inlay-hook", "-> inlay-hook-v2-4e5f6a7b"},
		{"opt/inlay/bin/inlay-hook-v1-0a1b2c3d", "v1"},
		{"opt/inlay/bin/inlay-hook-v2-4e5f6a7b", "v2"},
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
		{plugins + "/gpu.intel.com-i915.sock", "SOCKET"},
		{plugins + "/fpga.intel.com-notes.txt", "not a socket"},
		{plugins + "/fpga.intel.com-a-file.sock", "not a socket"},
		{"etc/containers/oci/hooks.d/other.json", "{}"},
		{"run/cdi/nvidia.com-gpu.yaml", theirs},
		{"run/cdi/intel.cdi.k8s.io-fpga-dfl-fme.1.yaml", theirs}, // of an earlier plugin
		{"run/cdi/intel.cdi.k8s.io-fpga-link.yaml", "-> ../../etc/containers/oci/hooks.d/other.json"},
		{"run/cdi/intel.cdi.k8s.io-fpga-fifo.yaml", "FIFO"},
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
		case "run/inlay/touched":
			want.WriteString("removed  " + h.path("run/inlay") + "\n")
		}
	}
	h.put("var/lib/inlay/policy.json", "{}")
	h.put("var/lib/inlay/.policy.json.12", "half")

	var out strings.Builder
	if err := h.node(&out).Run(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".policy.json.12", "policy.json"} {
		want.WriteString("left     " + h.path("var/lib/inlay/"+name) + ": --purge takes it too\n")
	}
	if diff := cmp.Diff(want.String(), out.String()); diff != "" {
		t.Errorf("printed (-want +got):\n%s", diff)
	}
	out.Reset()
	purge := h.node(&out)
	purge.Purge = true
	if err := purge.Run(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "removed  "+h.path("var/lib/inlay/policy.json")+"\nremoved  "+h.path("var/lib/inlay")+"\n") {
		t.Errorf("printed:\n%s", &out)
	}
	if diff := cmp.Diff(before, h.list()); diff != "" {
		t.Errorf("the host (-before +after):\n%s", diff)
	}
	out.Reset()
	if err := purge.Run(); err != nil || out.Len() > 0 {
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
	h.put("run/inlay/load-x.json", "-> ../../etc/passwd")
	h.put("etc/passwd", "root")
	h.put("usr/local/bin/inlay-hook", "elsewhere")
	var out strings.Builder
	if err := h.node(&out).Run(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"etc/passwd", "opt/inlay", "opt/inlay/bin", "opt/inlay/bin/inlay-deviceplugin", "run/inlay", "run/inlay/lock-folder", "run/inlay/notes",
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
	if err := other.Run(); err != nil {
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
			err := h.node(&out).Run()
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
			if err := h.node(&out).Run(); err != nil {
				t.Error(err)
			}
			if got := h.list(); len(got) != 0 {
				t.Errorf("the second time it left %q", got)
			}
		})
	}
}
