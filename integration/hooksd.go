package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/inlay-project/inlay/integration/cri"
	"github.com/inlay-project/inlay/internal/atomicfile"
)

// onThisHost turns the device nodes of an Allocate answer, which are the emulated
// host's, into those of the tree.
func (i *Inlay) onThisHost(s cri.ContainerSpec) cri.ContainerSpec {
	for k, d := range s.Devices {
		if !strings.HasPrefix(d.HostPath, i.Node.HostRoot) {
			s.Devices[k].HostPath = i.Node.HostPath(d.HostPath)
		}
	}
	return s
}

// InstallHooksJSON puts the stand-alone hook into the node's hooks.d folder, by
// inlay-hook itself. A CRI-O that runs has then to load it.
func (n *Node) InstallHooksJSON() {
	n.t.Helper()
	out, err := exec.CommandContext(n.ctx(), n.Tools.Path("inlay-hook"), "install",
		"--hooks-dir", n.HooksDir(), "--bin-dir", n.HostPath("opt/inlay/bin"), "--host-root", n.HostRoot, "--timeout", "20s").CombinedOutput()
	if err != nil {
		n.t.Fatalf("inlay-hook install: %v: %s", err, out)
	}
	// What install writes is for a hook whose host is the machine itself.
	n.editHooksJSON(func(doc map[string]any) {
		hook, _ := doc["hook"].(map[string]any)
		args, _ := hook["args"].([]any)
		if len(args) == 0 {
			n.t.Fatalf("the hooks.d JSON has no arguments: %v", doc)
		}
		hook["args"] = append(args, "--host-root", n.HostRoot)
	})
}

// UninstallHooksJSON takes it away again.
func (n *Node) UninstallHooksJSON() {
	n.t.Helper()
	out, err := exec.CommandContext(n.ctx(), n.Tools.Path("inlay-hook"), "uninstall",
		"--hooks-dir", n.HooksDir(), "--bin-dir", n.HostPath("opt/inlay/bin"), "--host-root", n.HostRoot).CombinedOutput()
	if err != nil {
		n.t.Fatalf("inlay-hook uninstall: %v: %s", err, out)
	}
}

// editHooksJSON changes the JSON; CRI-O has read it again when it returns.
func (n *Node) editHooksJSON(change func(doc map[string]any)) {
	n.t.Helper()
	file := filepath.Join(n.HooksDir(), "inlay-fpga.json")
	data, err := os.ReadFile(file)
	if err != nil {
		n.t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); err != nil {
		n.t.Fatalf("%s: %v", file, err)
	}
	change(doc)
	if data, err = json.Marshal(doc); err != nil {
		n.t.Fatal(err)
	}
	if err := atomicfile.Write(file, data, 0o644); err != nil {
		n.t.Fatal(err)
	}
	time.Sleep(noticeTime)
}
