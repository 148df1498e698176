package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/inlay-project/inlay/internal/childtest"
	"github.com/inlay-project/inlay/internal/policy"
	"github.com/inlay-project/inlay/webhook/api/follow/followtest"
)

// load makes the nodes of the SGX driver, in their order.
func load(t testing.TB, root string) {
	t.Helper()
	for _, node := range []string{"sgx_enclave", "sgx_provision"} {
		path := filepath.Join(root, "dev", node)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// pod is a pod with a limit of enclave memory that is bound to a node.
func pod(node, limit string) followtest.Object {
	return followtest.Object{"spec": followtest.Object{"nodeName": node, "containers": []any{followtest.Object{
		"name": "c", "resources": followtest.Object{"limits": followtest.Object{"sgx.intel.com/enclave": "1", "sgx.intel.com/epc": limit}},
	}}}}
}

// limits waits until the file has exactly these limits; nil: no enclave is limited.
func limits(t testing.TB, file string, want map[string]int64) {
	t.Helper()
	childtest.Eventually(t, limit, func() error {
		p, err := policy.Read(file, 0, time.Now())
		if err != nil {
			return err
		}
		if (p.EPC == nil) != (want == nil) {
			return fmt.Errorf("EPC %+v, want %v", p.EPC, want)
		}
		if p.EPC == nil {
			return nil
		}
		for uid, n := range want {
			if p.EPC.Pods[uid].Containers["c"] != n {
				return fmt.Errorf("%s: %+v, want %d", uid, p.EPC.Pods[uid], n)
			}
		}
		if len(p.EPC.Pods) != len(want) {
			return fmt.Errorf("%+v, want %v", p.EPC.Pods, want)
		}
		return nil
	})
}

func TestThePolicyFileHasTheLimitsOfEnclaveMemoryOnceTheNodeHasSGX_S6(t *testing.T) {
	t.Parallel()
	root := emulated(t, "dfl")
	c := startCluster(t, followtest.Options{})
	c.function("ns", "n0", "region", nlb0)
	one := c.mappings.PutPod("a", "one", pod("n1", "1Mi"))
	c.mappings.PutPod("a", "elsewhere", pod("n2", "1Mi"))
	startKubelet(t, root)
	file := root + "/var/lib/inlay/policy.json"
	args := []string{"--fpga-mode", "region", "--node-name", "n1", "--kubeconfig", c.config, "--policy", file}
	d := start(t, root, args...)
	holdsPolicy(t, file, nlb0, true)
	limits(t, file, nil)
	if n := c.mappings.PodRequests(); n != 0 {
		t.Errorf("a node without SGX asks %d times for pods", n)
	}
	load(t, root)
	limits(t, file, map[string]int64{one: 1 << 20})
	holdsPolicy(t, file, nlb0, true)
	two := c.mappings.PutPod("a", "two", pod("n1", "4096"))
	limits(t, file, map[string]int64{one: 1 << 20, two: 4096})
	d.Answers(limit, "/readyz", 200, "ready")
	if err := d.Stop(syscall.SIGTERM); err != nil {
		t.Errorf("it ended with %v", err)
	}

	// The next process may not read pods: the limits of before stay, and a new pod waits, but not the cards' mappings.
	c.mappings.Forbid(true)
	c.mappings.PutPod("a", "three", pod("n1", "4096"))
	d = start(t, root, args...)
	c.function("ns", "n3", "region", nlb3)
	holdsPolicy(t, file, nlb3, true)
	limits(t, file, map[string]int64{one: 1 << 20, two: 4096})
	d.Answers(limit, "/readyz", 503, "policy: the pods of this node were never in step with the API server", "pods is forbidden")
	if err := d.Stop(syscall.SIGTERM); err != nil {
		t.Errorf("it ended with %v", err)
	}

	// Nor is it asked when nobody wants limits.
	before := c.mappings.PodRequests()
	d = start(t, root, append(args, "--sgx-epc-limits=false")...)
	limits(t, file, nil)
	d.Answers(limit, "/readyz", 200, "ready")
	if n := c.mappings.PodRequests() - before; n != 0 {
		t.Errorf("asked %d times for pods that nobody wants to limit", n)
	}
}

// A node may have 250 pods, and whoever may create pods can make them large. Without what drops the most of a pod as it
// arrives this takes 16 MiB.
func TestLargePodsCostNoMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	t.Parallel()
	const mappings, pods, large, mostKiB = 100, 250, 20, 12 << 10
	bin := filepath.Join(t.TempDir(), "inlay-deviceplugin")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	root := emulated(t, "dfl")
	load(t, root)
	c := startCluster(t, followtest.Options{Bookmarks: time.Minute})
	for i := range mappings {
		c.function(fmt.Sprintf("ns%d", i%100), fmt.Sprintf("function-%05d", i), "region", nlb0)
	}
	c.function("ns", "n0", "region", nlb0)
	put := func(i int, epc string) string {
		p := pod("n1", epc)
		if i < large {
			p["metadata"] = followtest.Object{"annotations": followtest.Object{"x": strings.Repeat("y", 1<<20)}}
		}
		return c.mappings.PutPod("a", fmt.Sprint("p", i), p)
	}
	want := map[string]int64{}
	for i := range pods {
		want[put(i, "1Mi")] = 1 << 20
	}
	file := root + "/var/lib/inlay/policy.json"
	cmd := exec.Command(bin, "--host-root", root, "--http", "127.0.0.1:0", "--node-name", "n1", "--kubeconfig", c.config,
		"--fpga-mode", "region", "--policy", file)
	cmd.Env = []string{}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Signal(syscall.SIGTERM)
	most := 0
	look := func() { most = max(most, statusField(t, fmt.Sprintf("/proc/%d/status", cmd.Process.Pid), "RssAnon:")) }
	end := time.Now().Add(10 * time.Second)
	for i := 0; time.Now().Before(end); i++ {
		if i%20 == 0 { // the large ones change too
			put(i/20%max(1, large), "1Mi")
		}
		look()
		time.Sleep(10 * time.Millisecond)
	}
	holdsPolicy(t, file, nlb0, true)
	limits(t, file, want)
	t.Logf("RssAnon %d KiB at most, with %d mappings and %d pods, %d of them of a megabyte and changing", most, mappings, pods, large)
	if most > mostKiB {
		t.Errorf("RssAnon %d KiB, want at most %d", most, mostKiB)
	}
}

func TestPodsAreAskedForOnlyWhereTheirLimitsCanBeKept(t *testing.T) {
	for name, args := range map[string][]string{
		"another family":      {"--node-name", "n1", "--families", "fpga"},
		"a node without name": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := emulated(t)
			load(t, root)
			c := startCluster(t, followtest.Options{})
			file := root + "/var/lib/inlay/policy.json"
			d := start(t, root, append(args, "--kubeconfig", c.config, "--policy", file)...)
			limits(t, file, nil)
			time.Sleep(200 * time.Millisecond)
			limits(t, file, nil)
			if n := c.mappings.PodRequests(); n != 0 {
				t.Errorf("asked %d times for pods", n)
			}
			if told := strings.Contains(d.Output(), "its name is not known"); told != (len(args) == 0) {
				t.Errorf("told that the name is missing: %v", told)
			}
		})
	}
}
