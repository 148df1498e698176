//go:build integration

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// newerTools are those of a runtime with a newer Inlay. One folder for all: what is in it
// is not linked again.
func newerTools(t *testing.T, runtime RuntimeName) Tools {
	t.Helper()
	newer, err := inlayTools(t, runtime).WithVersion(t.Context(), "v99.0.0", filepath.Join(tools.dir, "newer"))
	if err != nil {
		t.Fatal(err)
	}
	return newer
}

// hooksOf are the createRuntime hooks of a container, "<path> <command>".
func hooksOf(t *testing.T, c *Container) []string {
	t.Helper()
	hooks, _ := c.OCISpec()["hooks"].(map[string]any)
	list, _ := hooks["createRuntime"].([]any)
	var lines []string
	for _, h := range list {
		hook, _ := h.(map[string]any)
		args, _ := hook["args"].([]any)
		path, _ := hook["path"].(string)
		if len(args) < 2 {
			t.Fatalf("hook without command: %v", hook)
		}
		command, _ := args[1].(string)
		lines = append(lines, path+" "+command)
	}
	slices.Sort(lines)
	return lines
}

// sweptHookTimeout is that of nodes on which a test waits for a sweep: it comes two of them after the connection.
const sweptHookTimeout = 4 * time.Second

// swept starts inlay-nri anew with the node's tools and returns when it has taken the
// versions away that nobody names, of which there is one at least, and left these.
func (i *Inlay) swept(t *testing.T, when string, want ...string) {
	t.Helper()
	if err := i.NRI.Terminate(i.Node.ctx(), shutdownGrace); err != nil {
		t.Fatal(err)
	}
	nobodys := i.Hook + "-v0.0.0-00000000"
	i.Node.PutFile(nobodys, []byte("#!/bin/sh\n"))
	i.StartNRI()
	i.Node.eventually("the sweep "+when, func() error {
		if left := i.HookVersions(); !slices.Equal(left, want) {
			return fmt.Errorf("%v, want %v", left, want)
		}
		return nil
	})
}

// Each version of the hook stays as long as a container of it does.
func TestAnUpgradeLeavesRunningContainersTheirHook(t *testing.T) {
	on(t, everywhere, func(t *testing.T, runtime RuntimeName) {
		newer := newerTools(t, runtime)
		i := fpgaNode(t, runtime, InlayOptions{HookTimeout: sweptHookTimeout}, "dfl:ports=1", "dfl:ports=1")
		older := i.InstallHook() // again: it finds itself there
		old := i.NewWorkload("old", Regions(standardWant))
		old.MustRun()
		want := []string{older + " program", "/opt/inlay/bin/inlay-hook gate"}
		slices.Sort(want)
		if diff := cmp.Diff(want, hooksOf(t, old.Container())); diff != "" {
			t.Errorf("hooks (-want +got):\n%s", diff)
		}

		i.Node.Tools = newer
		if err := i.DevicePlugin.Terminate(i.Node.ctx(), shutdownGrace); err != nil {
			t.Fatal(err)
		}
		upgraded := i.InstallHook()
		i.StartDevicePlugin()
		i.swept(t, "with a container of the old version", names(older, upgraded)...)
		if !old.Running() || old.Container().Exec("afu-read", "/dev/dfl-port.0") != NLB3+"\n" {
			t.Error("the container of the old version is disturbed")
		}
		fresh := i.NewWorkload("fresh", Regions(standardWant))
		fresh.MustRun()
		want = []string{"/opt/inlay/bin/inlay-hook gate", upgraded + " program"}
		slices.Sort(want)
		if diff := cmp.Diff(want, hooksOf(t, fresh.Container())); diff != "" {
			t.Errorf("hooks after the upgrade (-want +got):\n%s", diff)
		}
		if target, err := os.Readlink(i.Hook); err != nil || target != filepath.Base(upgraded) {
			t.Errorf("the stable name leads to %q, %v", target, err)
		}
		if left, want := i.HookVersions(), names(older, upgraded); !slices.Equal(left, want) {
			t.Errorf("some time after the sweep: %v, want %v", left, want)
		}

		old.MustRun() // its container restarts, and is one of the new version
		i.swept(t, "without a container of the old version", names(upgraded)...)
		old.MustRun()
		if got := old.Functions(); !slices.Equal(got, []string{NLB3}) {
			t.Errorf("functions %v", got)
		}
	})
}

func names(files ...string) []string {
	for k, f := range files {
		files[k] = filepath.Base(f)
	}
	slices.Sort(files)
	return files
}

// An inlay-nri whose own hook is not on the host gives containers nobody else's.
func TestAnOlderInlayNRIWithoutItsHookRefuses(t *testing.T) {
	on(t, onBoth, func(t *testing.T, runtime RuntimeName) {
		newer := newerTools(t, runtime)
		i := fpgaNode(t, runtime, InlayOptions{HookTimeout: sweptHookTimeout}, "dfl:ports=1")
		old := i.Node.Tools
		i.Node.Tools = newer
		upgraded := i.InstallHook()
		i.swept(t, "with the new version alone", names(upgraded)...)
		i.Node.Tools = old // a pod of the DaemonSet before, without its init container
		if err := i.NRI.Terminate(i.Node.ctx(), shutdownGrace); err != nil {
			t.Fatal(err)
		}
		i.StartNRI()
		w := i.NewWorkload("refused", Regions(standardWant))
		refusedWith(t, w, "the new version alone is there", "hook is missing on this node")
		if left := i.HookVersions(); !slices.Equal(left, names(upgraded)) {
			t.Errorf("the version that the link leads to is gone: %v", left)
		}
		i.InstallHook()
		w.MustRun()
		if got := strings.Join(hooksOf(t, w.Container()), "\n"); strings.Contains(got, filepath.Base(upgraded)) {
			t.Errorf("it runs another version's hook:\n%s", got)
		}
	})
}
