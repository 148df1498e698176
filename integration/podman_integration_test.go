//go:build integration

package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inlay-project/inlay/integration/components"
	"github.com/inlay-project/inlay/integration/ocitest"
	"github.com/inlay-project/inlay/integration/process"
)

// podman is Debian's Podman on a node, with folders of its own.
type podman struct {
	node *Node
	runs int
}

func newPodman(n *Node) *podman {
	n.t.Helper()
	if err := components.EnsureDebian(n.ctx(), os.Stderr, "podman"); err != nil {
		n.t.Fatal(err)
	}
	p := &podman{node: n}
	n.PutFile(n.path("podman/containers.conf"), []byte("[engine]\nlock_type = \"file\"\nevents_logger = \"none\"\n"))
	n.PutFile(n.path("podman/storage.conf"), fmt.Appendf(nil, "[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n",
		p.dir("root"), p.dir("run")))
	for path, program := range map[string]string{"bin/sh": ocitest.Busybox, "bin/afu-read": n.Tools.Path("afu-read")} {
		data, err := os.ReadFile(program)
		if err != nil {
			n.t.Fatal(err)
		}
		n.PutFile(p.dir("rootfs/"+path), data)
		if err := os.Chmod(p.dir("rootfs/"+path), 0o755); err != nil {
			n.t.Fatal(err)
		}
	}
	return p
}

func (p *podman) dir(name string) string { return p.node.path(filepath.Join("podman", name)) }

// run runs a container and returns what it and Podman have printed.
func (p *podman) run(flags []string, script string) string {
	n := p.node
	n.t.Helper()
	p.runs++
	exit := p.dir(fmt.Sprintf("exit-%d", p.runs))
	args := append([]string{
		"-c", `"$@"; echo $? >` + exit + ".new; mv " + exit + ".new " + exit, "sh", "/usr/bin/podman",
		"--root", p.dir("root"), "--runroot", p.dir("run"), "--tmpdir", p.dir("tmp"), "--storage-driver", "vfs",
		"--runtime", n.Tools.Path("runc"), "--runtime-flag", "root=" + p.dir("runc"), "--conmon", n.Tools.Path("conmon"), "--cgroup-manager", "cgroupfs", "--hooks-dir", n.HooksDir(),
		// The root of a build machine's container may not raise limits, as Podman's defaults would.
		"run", "--rm", "--network", "host", "--no-hosts", "--cgroup-parent", n.CgroupParent() + "/podman",
		"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
	}, flags...)
	args = append(args, "--rootfs", p.dir("rootfs"), "/bin/sh", "-c", script)
	log := n.path(fmt.Sprintf("podman-%d.log", p.runs))
	run, err := n.launcher.Start(n.ctx(), process.Command{
		Name: "podman", Path: "/bin/sh", Args: args, Log: log,
		Env: append(programEnv(), "HOME="+p.dir("home"),
			"CONTAINERS_CONF="+p.dir("containers.conf"), "CONTAINERS_STORAGE_CONF="+p.dir("storage.conf")),
	})
	if err != nil {
		n.t.Fatal(err)
	}
	err = process.Poll(n.within(30*time.Second), func() error {
		if _, err := os.Stat(exit); err != nil {
			return errors.New("podman has not ended")
		}
		return nil
	})
	if err != nil {
		n.t.Fatalf("%v:\n%s", err, run.Tail(20))
	}
	return run.Output()
}

// The JSON that CRI-O reads serves Podman as it is.
func TestPodmanRunsTheSameHooksJSON(t *testing.T) {
	n := StartNode(t, inlayTools(t, CRIO), NodeOptions{Runtime: CRIO, NoNRI: true, Cards: []string{"dfl:ports=1"}})
	n.PutBitstream(Interface, NLB3, NLB3)
	n.InstallHooksJSON()
	p := newPodman(n)
	device := []string{"--device", n.HostPath("dev/dfl-port.0") + ":/dev/dfl-port.0"}
	asks := []string{"-e", "FPGA_REGION_1=" + Interface, "-e", "FPGA_AFU_1=" + NLB3}
	mode := []string{"--annotation", modeAnnotation + "=fpga.intel.com/region"}
	const read = "afu-read /dev/dfl-port.0"
	join := func(lists ...[]string) (all []string) {
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}

	if diff := cmp.Diff(NLB0+"\n", p.run(join(device, asks), read)); diff != "" {
		t.Errorf("without the annotation the device is to be as it is:\n%s", diff)
	}
	for range 2 {
		if diff := cmp.Diff(NLB3+"\n", p.run(join(device, asks, mode), read)); diff != "" {
			t.Error(diff)
		}
	}
	if got := n.Programmed(); len(got) != 1 || got[0].Loaded != NLB3 {
		t.Errorf("programmings: %+v", got)
	}
	n.RemoveFile(n.BitstreamFile(Interface, NLB3))
	n.PutBitstream(Interface, NLB0, NLB3) // holds another function than its name says
	asks[3] = "FPGA_AFU_1=" + NLB0
	if got := p.run(join(device, asks, mode), "echo it runs"); strings.Contains(got, "it runs") || !strings.Contains(got, NLB0) {
		t.Errorf("a function that cannot be loaded: %s", got)
	}
	if got := p.run(join(asks, mode), "echo it runs"); strings.Contains(got, "it runs") || !strings.Contains(got, "inlay-hook") {
		t.Errorf("the annotation without a device: %s", got)
	}
	n.UninstallHooksJSON()
	if got := p.run(join(device, mode), "echo it runs"); got != "it runs\n" {
		t.Errorf("after uninstall: %s", got)
	}
}
