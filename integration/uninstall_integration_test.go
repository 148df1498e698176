//go:build integration

package integration

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// hostTree is all that there is on the emulated host: each name with its mode and, of links
// and files, the target or the content. What the kernel shows in /sys changes by itself.
func (n *Node) hostTree(t *testing.T) map[string]string {
	t.Helper()
	tree := map[string]string{}
	err := filepath.WalkDir(n.HostRoot, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(n.HostRoot, path)
		if name == ".fpga-emulator" { // the cards' memory
			return fs.SkipDir
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		text := st.Mode().String()
		switch {
		case st.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += " -> " + target
		case st.Mode().IsRegular() && !strings.HasPrefix(name, "sys/"):
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %x", sha256.Sum256(b))
		}
		tree[name] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// installed is a node with the tree that it had before Inlay, Inlay in full, and a running
// pod that it allocated to.
func installed(t *testing.T, runtime RuntimeName) (*Inlay, map[string]string, *Workload) {
	t.Helper()
	n := StartNode(t, inlayTools(t, runtime), NodeOptions{Runtime: runtime, Cards: []string{"dfl:ports=1"}})
	n.PutBitstream(Interface, NLB3, NLB3)
	// Another's files in the folders that ours are put into.
	n.PutFile(filepath.Join(n.CDIDir(), "example.com-thing.yaml"), []byte("cdiVersion: 0.5.0\nkind: example.com/thing\ndevices:\n- name: a\n  containerEdits: {env: [A=b]}\n"))
	// The emulator makes them for tests of single programs; a host has none.
	for _, dir := range []string{"run/inlay", "var/lib/inlay"} {
		n.RemoveFile(n.HostPath(dir))
	}
	i := n.NewInlay(InlayOptions{})
	before := n.hostTree(t)
	i.Start()
	if runtime != Containerd {
		n.InstallHooksJSON()
	}
	i.litterHookFolder()
	w := i.NewWorkload("one", Regions(standardWant))
	w.MustRun()
	return i, before, w
}

// litterHookFolder leaves in the hook folder what an upgrade and an installer that was killed do.
func (i *Inlay) litterHookFolder() {
	i.t.Helper()
	for _, name := range []string{"inlay-hook-v0.0.0-00000000", ".inlay-hook-host.ABC"} {
		i.Node.PutFile(filepath.Join(filepath.Dir(i.Hook), name), []byte("half"))
	}
}

func TestUninstallIsRefusedWhilePodsHaveFPGAs(t *testing.T) {
	on(t, onBoth, func(t *testing.T, runtime RuntimeName) {
		i, _, w := installed(t, runtime)
		with := i.Node.hostTree(t)
		for _, step := range []struct {
			name string
			do   func()
			want []string
		}{
			{"as it runs", func() {}, []string{"pods hold FPGAs, delete them first: team-a/one", "inlay-nri runs on this node: stop it first", "a device plugin serves fpga.intel.com-region-"}},
			{"without its daemons", func() {
				i.StopDaemons()
				with = i.Node.hostTree(t) // they take their sockets along
			}, []string{"nothing was taken away (--force does it all the same): pods hold FPGAs, delete them first: team-a/one\n"}},
		} {
			step.do()
			out, err := i.Uninstall("--purge")
			if err == nil {
				t.Fatalf("%s: it went on:\n%s", step.name, out)
			}
			for _, want := range step.want {
				if !strings.Contains(out, want) {
					t.Errorf("%s: %q, want %q", step.name, out, want)
				}
			}
			if diff := cmp.Diff(with, i.Node.hostTree(t)); diff != "" {
				t.Errorf("%s: the host was changed (-before +after):\n%s", step.name, diff)
			}
			if !w.Running() {
				t.Errorf("%s: the pod does not run", step.name)
			}
		}
	})
}

func TestUninstallLeavesTheHostAsItWas(t *testing.T) {
	for _, force := range []bool{false, true} {
		on(t, onBoth, func(t *testing.T, runtime RuntimeName) {
			t.Run(fmt.Sprintf("force=%t", force), func(t *testing.T) {
				i, before, w := installed(t, runtime)
				if diff := cmp.Diff(before, i.Node.hostTree(t)); diff == "" {
					t.Fatal("Inlay put nothing on the host")
				}
				flags := []string{"--purge"}
				if force {
					flags = append(flags, "--force")
				} else {
					w.End()
				}
				i.StopDaemons()
				out, err := i.Uninstall(flags...)
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				if diff := cmp.Diff(before, i.Node.hostTree(t)); diff != "" {
					t.Errorf("the host (-before +after):\n%s\nit printed:\n%s", diff, out)
				}
				if force && (!w.Running() || w.Container().Exec("afu-read", "/dev/dfl-port.0") != NLB3+"\n") {
					t.Error("the running pod was disturbed")
				}
				// The runtime works as before, with its CDI devices too.
				time.Sleep(noticeTime)
				spec := Shell("echo $A")
				spec.CDIDevices = []string{"example.com/thing=a"}
				if got := i.Node.RunPod("after").Run(spec).Wait(); got.Output != "b\n" {
					t.Errorf("a container afterwards: %+v", got)
				}
			})
		})
	}
}
