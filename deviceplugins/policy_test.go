package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/inlay-project/inlay/deviceplugins/node/nodetest"
	"github.com/inlay-project/inlay/internal/childtest"
	"github.com/inlay-project/inlay/internal/policy"
	"github.com/inlay-project/inlay/webhook/api/follow/followtest"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

const nlb0 = "d8424dc4a4a3c413f89e433683f9040b"

// cluster is one API server with a Node and the mappings.
type cluster struct {
	node     *nodetest.APIServer
	mappings *followtest.Server
	config   string
}

func startCluster(t testing.TB, o followtest.Options) *cluster {
	t.Helper()
	c := &cluster{node: nodetest.Start(t, "n1"), mappings: followtest.Start(t, o)}
	mux := http.NewServeMux()
	mux.Handle("/api/", c.node)
	mux.Handle("/api/v1/pods", c.mappings)
	mux.Handle("/apis/fpga.intel.com/", c.mappings)
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		c.mappings.SetDown(http.StatusServiceUnavailable) // ends the watches, which Close waits for
		c.node.SetDown(true)
		server.Close()
	})
	c.config = kubeconfig(t, server.URL)
	return c
}

func kubeconfig(t testing.TB, url string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: c
clusters: [{name: k, cluster: {server: %q}}]
users: [{name: u, user: {}}]
contexts: [{name: c, context: {cluster: k, user: u}}]
`, url)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func (c *cluster) function(namespace, name, mode, afu string) {
	c.mappings.Put(v2.KindAcceleratorFunction, namespace, name, followtest.Object{"mode": mode, "interfaceId": iface, "afuId": afu})
}

// holdsPolicy waits until the file allows namespace "ns" the function of mode region, or not.
func holdsPolicy(t testing.TB, file, function string, want bool) {
	t.Helper()
	childtest.Eventually(t, limit, func() error {
		p, err := policy.Read(file, 0, time.Now())
		if err != nil {
			return err
		}
		if p.AllowsFunction("ns", policy.ModeRegion, iface, function) != want {
			return fmt.Errorf("function %s: want %v in %+v", function, want, p)
		}
		return nil
	})
}

func TestThePolicyFileFollowsTheMappingsOfTheNodesCards(t *testing.T) {
	root := emulated(t, "dfl", "dfl")
	c := startCluster(t, followtest.Options{})
	c.function("ns", "n0", "region", nlb0)
	startKubelet(t, root)
	file := root + "/var/lib/inlay/policy.json"
	args := []string{"--fpga-mode", "region", "--kubeconfig", c.config, "--policy", file}
	d := start(t, root, args...)
	holdsPolicy(t, file, nlb0, true)
	d.Answers(limit, "/readyz", 200, "ready")
	d.Answers(limit, "/metrics", 200, "inlay_policy_mappings 1", `inlay_policy_writes_total{result="ok"} 1`, "inlay_policy_synced_timestamp_seconds 1.")
	if st, err := os.Stat(file); err != nil || st.Mode() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	c.function("ns", "n3", "region", nlb3)
	holdsPolicy(t, file, nlb3, true)
	c.mappings.Delete(v2.KindAcceleratorFunction, "ns", "n0")
	holdsPolicy(t, file, nlb0, false)
	if err := d.Stop(syscall.SIGTERM); err != nil {
		t.Errorf("it ended with %v", err)
	}

	// While nobody looks a mapping goes, and the next process finds the API server away: the last good copy stays.
	c.mappings.Delete(v2.KindAcceleratorFunction, "ns", "n3")
	c.mappings.SetDown(http.StatusServiceUnavailable)
	d = start(t, root, args...)
	d.Answers(limit, "/readyz", 503, "policy: AcceleratorFunctions of interface "+iface+" were never in step with the API server: ",
		"policy: FpgaRegions of interface "+iface, "the API server is down")
	d.Answers(limit, "/metrics", 200, "inlay_policy_mappings 1", "inlay_policy_synced_timestamp_seconds 1.")
	holdsPolicy(t, file, nlb3, true)
	c.mappings.SetDown(0)
	holdsPolicy(t, file, nlb3, false)
	d.Answers(limit, "/readyz", 200, "ready")
}

func TestANodeWithoutCardsAsksForNoMappingsUntilItHasOne(t *testing.T) {
	root := emulated(t)
	c := startCluster(t, followtest.Options{})
	c.function("ns", "n0", "region", nlb0)
	file := root + "/var/lib/inlay/policy.json"
	d := start(t, root, "--fpga-mode", "region", "--kubeconfig", c.config, "--policy", file)
	holdsPolicy(t, file, nlb0, false)
	d.Answers(limit, "/readyz", 200, "ready")
	if _, body := d.Get("/metrics"); strings.Contains(body, "inlay_policy_synced") {
		t.Error("a node without cards tells how old its policy is")
	}
	if n := c.mappings.Requests("list") + c.mappings.Requests("watch"); n > 0 {
		t.Errorf("%d requests", n)
	}
	plug(t, root, "dfl")
	holdsPolicy(t, file, nlb0, true)
}
