//go:build integration

package admission

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/integration/apiserver"
	"github.com/inlay-project/inlay/integration/process"
	"github.com/inlay-project/inlay/internal/policy"
)

// mirrorRSS is what inlay-deviceplugin may have of memory of its own, with its mirror, in KiB.
const mirrorRSS = 24 << 10

// A mapping that is created, changed or deleted is in the node's policy file a second later at most. The device plugin has
// the rights of its ServiceAccount in deploy/node, and those only.
func TestMappingsReachTheNodesPolicyFileWithinASecond(t *testing.T) {
	t.Parallel()
	c := manifests(t)
	n := startMirror(t, c)
	ns := c.Namespace(t)
	n.settles("the first file", func(p *policy.Policy) bool { return len(p.Namespaces) == 0 })

	withinASecond(t, func(took func(string, time.Duration)) {
		apply := func(what, yaml string, ok func(policy.Namespace) bool) {
			t.Helper()
			c.Apply(t, yaml, "-n", ns)
			took(what, n.settles(what, func(p *policy.Policy) bool { return ok(p.Namespaces[ns]) }))
		}
		apply("created", function("n0", nlb0, iface, "region")+function("far", nlb0, other, "region")+card("a10", iface),
			func(n policy.Namespace) bool {
				return fmt.Sprint(n) == fmt.Sprintf("{[{n0 %s %s region}] [{a10 %s}]}", iface, nlb0, iface)
			})
		apply("changed", function("n0", nlb3, iface, "region"), func(n policy.Namespace) bool {
			return len(n.Functions) == 1 && n.Functions[0].Function == nlb3
		})
		apply("of another mode", function("n0", nlb3, iface, "af"), func(n policy.Namespace) bool {
			return len(n.Functions) == 1 && n.Functions[0].Mode == policy.ModeAF
		})
		apply("moved to other cards", function("n0", nlb3, other, "af"), func(n policy.Namespace) bool { return len(n.Functions) == 0 })
		apply("moved here", function("far", nlb0, iface, "region"), func(n policy.Namespace) bool { return len(n.Functions) == 1 })
		c.Kubectl(t, "delete", "af,fpga", "--all", "-n", ns)
		took("deleted", n.settles("deleted", func(p *policy.Policy) bool { return len(p.Namespaces) == 0 }))
	})

	// What happens while nobody looks is in the file as soon as somebody does.
	if err := n.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Apply(t, function("n3", nlb3, iface, "region"), "-n", ns)
	n.start()
	n.settles("after a kill", func(p *policy.Policy) bool {
		return p.AllowsFunction(ns, policy.ModeRegion, iface, nlb3) && time.Since(p.Synced) < waiting
	})
	if kib := n.anon(); kib > mirrorRSS {
		t.Errorf("RssAnon %d KiB, want at most %d", kib, mirrorRSS)
	}
}

// mirrored is a node without a kubelet, whose inlay-deviceplugin keeps the policy file.
type mirrored struct {
	*process.Process
	t                        *testing.T
	c                        *apiserver.Cluster
	program, root, http, api string
	flags                    []string
	starts                   int
}

func startMirror(t *testing.T, c *apiserver.Cluster) *mirrored {
	t.Helper()
	n := newMirror(t, c)
	n.start()
	return n
}

// newMirror is a node with a card, on which nothing runs.
func newMirror(t *testing.T, c *apiserver.Cluster) *mirrored {
	t.Helper()
	n := &mirrored{t: t, c: c, root: t.TempDir(), http: c.Address() + ":9770"}
	n.program = filepath.Join(os.Getenv("INLAY_BIN"), "inlay-deviceplugin")
	if os.Getenv("INLAY_BIN") == "" {
		n.program = filepath.Join(t.TempDir(), "inlay-deviceplugin")
		cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", n.program, "github.com/inlay-project/inlay/deviceplugins")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build the device plugin: %v\n%s", err, out)
		}
	}
	dfl, err := emulator.ParseCard("dfl")
	if err != nil {
		t.Fatal(err)
	}
	if err := emulator.WriteTree(n.root, []emulator.Card{dfl}, emulator.PlainNodes()); err != nil {
		t.Fatal(err)
	}
	n.api = c.ServiceAccount(t, NodeNamespace, "inlay-node", apiserver.Bound{})
	return n
}

func (n *mirrored) start() {
	n.t.Helper()
	n.starts++
	p, err := process.Start(process.Command{
		Name: "inlay-deviceplugin", Path: n.program, Log: filepath.Join(n.c.Dir, fmt.Sprintf("inlay-deviceplugin-%d.log", n.starts)),
		Args: append([]string{"--host-root", n.root, "--http", n.http, "--kubeconfig", n.api, "--fpga-mode", "region", "--policy", n.file()}, n.flags...),
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.Process = p
	n.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := p.Kill(ctx); err != nil {
			n.t.Error(err)
		}
	})
}

func (n *mirrored) file() string { return filepath.Join(n.root, "var/lib/inlay/policy.json") }

// settles waits until the file is as it should be, and returns for how long. A file that cannot be read in between fails
// the test; one that is not there yet does not.
func (n *mirrored) settles(what string, ok func(*policy.Policy) bool) time.Duration {
	n.t.Helper()
	began := time.Now()
	for {
		p, err := policy.Read(n.file(), 0, time.Now())
		took := time.Since(began)
		if err == nil && ok(p) {
			n.t.Logf("%s: %v", what, took.Round(100*time.Microsecond))
			return took
		}
		if err != nil && !strings.Contains(err.Error(), policy.ErrMissing.Error()) {
			n.t.Fatal(err)
		}
		if took > waiting {
			status, page, _ := get(n.t.Context(), "http://"+n.http+"/readyz")
			n.t.Fatalf("%s: not within %v: %+v, %v; /readyz %s:\n%s\n%s", what, waiting, p, err, http.StatusText(status), page, n.Tail(15))
		}
		time.Sleep(time.Millisecond)
	}
}

// anon is the process's own memory in KiB.
func (n *mirrored) anon() int64 {
	n.t.Helper()
	bytes, err := process.RSSAnon(n.Pid())
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Logf("RssAnon %d KiB", bytes>>10)
	return bytes >> 10
}
