//go:build integration

package admission

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/inlay-project/inlay/integration/apiserver"
	"github.com/inlay-project/inlay/internal/kube"
	"github.com/inlay-project/inlay/internal/policy"
)

// enclavePod is a pod, YAML, that is bound to a node, with a limit of enclave memory in a container and an init container.
func enclavePod(name, node, limit string) string {
	resources := fmt.Sprintf("resources: {limits: {sgx.intel.com/enclave: 1, sgx.intel.com/epc: %s}}", limit)
	return "---\n" + manifest(name, fmt.Sprintf(`{nodeName: %s, initContainers: [{name: first, image: i, %s}], containers: [{name: main, image: i, %s}]}`,
		node, resources, resources)) + "\n"
}

// withSGX starts a cluster with everything of deploy/ that a node with SGX has, and a node whose inlay-deviceplugin has
// the rights of its account there.
func withSGX(t *testing.T, o apiserver.Options) (*apiserver.Cluster, *mirrored) {
	t.Helper()
	c := apiserver.Start(t, o)
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	c.Kubectl(t, "apply", "-k", filepath.Join(root, "deploy/crds"))
	c.Kubectl(t, "apply", "-k", filepath.Join(root, "deploy/overlays/sgx"))
	c.Apply(t, ownNodes)
	n := newMirror(t, c)
	for _, node := range []string{"sgx_enclave", "sgx_provision"} {
		if err := os.WriteFile(filepath.Join(n.root, "dev", node), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n.api = c.ServiceAccount(t, NodeNamespace, "inlay-node", apiserver.Bound{Kind: "Pod", Name: "deviceplugin"})
	n.flags = []string{"--node-name", "n1", "--families", "fpga,sgx"}
	return c, n
}

// A pod's limits are in the node's policy file before a kubelet could have made its sandbox: both hear of it at once.
func TestLimitsOfEnclaveMemoryReachTheNodesPolicyFileWithinASecond(t *testing.T) {
	t.Parallel()
	c, n := withSGX(t, apiserver.Options{})
	ns := c.Namespace(t)
	pods := func(p *policy.Policy) map[string]policy.EPCPod {
		if p.EPC == nil {
			return nil
		}
		return p.EPC.Pods
	}
	uid := func(name string) string {
		return c.Kubectl(t, "get", "pod", name, "-n", ns, "-o", "jsonpath={.metadata.uid}")
	}
	c.Apply(t, enclavePod("early", "n1", "1Mi"), "-n", ns)
	n.start()
	n.settles("the first file", func(p *policy.Policy) bool { return len(pods(p)) == 1 })
	early := uid("early")
	made := measureEnclaves(t, c, n, ns)
	left := 1 + len(made)
	first, id := made[0], uid(made[0])
	n.settles("what is in it", func(p *policy.Policy) bool {
		pod := pods(p)[id]
		return pod.Namespace == ns && pod.Name == first && len(pod.Containers) == 2 && pod.Containers["main"] == 4<<20 && pod.Containers["first"] == 4<<20
	})
	withinASecond(t, func(took func(string, time.Duration)) {
		oneLess := func(what string) {
			t.Helper()
			left--
			took(what, n.settles(what, func(p *policy.Policy) bool { return len(pods(p)) == left }))
		}
		goes, ends := made[0], made[1]
		made = made[2:]
		c.Kubectl(t, "delete", "pod", goes, "-n", ns, "--grace-period=0", "--force")
		oneLess("deleted")
		c.Kubectl(t, "patch", "pod", ends, "-n", ns, "--subresource=status", "--type=merge", "-p", `{"status":{"phase":"Succeeded"}}`)
		oneLess("ended")
	})

	// What happens while nobody looks is in the file as soon as somebody does, and until then it is what it was.
	if err := n.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Kubectl(t, "delete", "pod", "early", "-n", ns, "--grace-period=0", "--force")
	p, err := policy.Read(n.file(), 0, time.Now())
	if err != nil || pods(p)[early].Containers["main"] != 1<<20 {
		t.Errorf("%+v, %v", p, err)
	}
	n.start()
	n.settles("after a kill", func(p *policy.Policy) bool {
		_, there := pods(p)[early]
		return len(pods(p)) == left-1 && !there
	})
	if kib := n.anon(); kib > mirrorRSS {
		t.Errorf("RssAnon %d KiB, want at most %d", kib, mirrorRSS)
	}
}

// measureEnclaves makes pods, and tells how much later than a kubelet's watch the node's file has them. It returns their
// names.
func measureEnclaves(t *testing.T, c *apiserver.Cluster, n *mirrored, ns string) (made []string) {
	t.Helper()
	client, err := kube.Client(c.RESTConfig(), corev1.SchemeGroupVersion, &corev1.Pod{}, &corev1.PodList{})
	if err != nil {
		t.Fatal(err)
	}
	options := metav1.ListOptions{FieldSelector: "spec.nodeName=n1", Watch: true}
	w, err := client.Get().Resource("pods").VersionedParams(&options, metav1.ParameterCodec).Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	heard := map[string]time.Time{}
	var lag, whole []time.Duration
	withinASecond(t, func(took func(string, time.Duration)) {
		for i := range 20 {
			name := fmt.Sprint("p", len(made))
			made = append(made, name)
			c.Apply(t, enclavePod(name+"-elsewhere", "n2", "4Mi"), "-n", ns)
			text, err := yaml.YAMLToJSON([]byte(strings.TrimPrefix(enclavePod(name, "n1", "4Mi"), "---\n")))
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			var pod corev1.Pod
			if err := client.Post().Namespace(ns).Resource("pods").Body(text).Do(t.Context()).Into(&pod); err != nil {
				t.Fatal(err)
			}
			var inFile time.Time
			for inFile.IsZero() || heard[name].IsZero() {
				select {
				case e := <-w.ResultChan():
					if o, ok := e.Object.(*corev1.Pod); ok && heard[o.Name].IsZero() {
						heard[o.Name] = time.Now()
					}
				default:
				}
				p, err := policy.Read(n.file(), 0, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				if _, there := p.EPC.Pods[string(pod.UID)]; there && inFile.IsZero() {
					inFile = time.Now()
				}
				if time.Since(began) > waiting {
					t.Fatalf("%s: not within %v: %+v", name, waiting, p.EPC)
				}
				time.Sleep(100 * time.Microsecond)
			}
			took(fmt.Sprintf("pod %d", i), inFile.Sub(began))
			lag, whole = append(lag, inFile.Sub(heard[name])), append(whole, inFile.Sub(began))
			time.Sleep(50 * time.Millisecond)
		}
	})
	slices.Sort(lag)
	slices.Sort(whole)
	ms := func(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
	t.Logf("in the file later than a kubelet's watch hears of the pod by: median %v, longest %v of %d", ms(lag[len(lag)/2]), ms(lag[len(lag)-1]), len(lag))
	t.Logf("from the request that makes the pod to the file: median %v, longest %v", ms(whole[len(whole)/2]), ms(whole[len(whole)-1]))
	return made
}

// Without the right to pods the node's cards work, and the enclaves wait; nothing is asked for on a node without SGX.
func TestWithoutTheRightToPodsCardsWorkAndEnclavesWait(t *testing.T) {
	t.Parallel()
	c := manifests(t)
	for _, verb := range []string{"get", "list", "watch"} {
		if may(t, c, "inlay-node", verb+" pods -A") {
			t.Errorf("without SGX inlay-node may %s pods", verb)
		}
	}
	n := newMirror(t, c)
	n.flags = []string{"--node-name", "n1", "--families", "fpga,sgx"}
	ns := c.Namespace(t)
	c.Apply(t, function("n0", nlb0, iface, "region"), "-n", ns)
	n.start()
	n.settles("no SGX", func(p *policy.Policy) bool {
		return p.EPC == nil && p.AllowsFunction(ns, policy.ModeRegion, iface, nlb0)
	})
	if strings.Contains(n.Output(), "pods") && strings.Contains(n.Output(), "forbidden") {
		t.Errorf("a node without SGX asks for pods:\n%s", n.Tail(15))
	}
	for _, node := range []string{"sgx_enclave", "sgx_provision"} {
		if err := os.WriteFile(filepath.Join(n.root, "dev", node), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n.settles("SGX comes", func(p *policy.Policy) bool { return p.EPC != nil && len(p.EPC.Pods) == 0 })
	allowed := func(p *policy.Policy) bool { return p.AllowsFunction(ns, policy.ModeRegion, iface, nlb0) }
	withinASecond(t, func(took func(string, time.Duration)) {
		c.Apply(t, function("n0", nlb0, iface, "region"), "-n", ns) // is there the first time
		n.settles("a mapping comes", allowed)
		c.Kubectl(t, "delete", "af", "n0", "-n", ns)
		took("a mapping goes", n.settles("a mapping goes", func(p *policy.Policy) bool { return !allowed(p) }))
	})
	apiserver.Eventually(t, waiting, "/readyz says why", func() error {
		_, page, err := get(t.Context(), "http://"+n.http+"/readyz")
		told := strings.Contains(page, "the pods of this node were never in step") && strings.Contains(page, "cannot list resource")
		if err == nil && !told {
			err = fmt.Errorf("%s", page)
		}
		return err
	})
}

// The configuration of docs/security.md confines the account to the pods of the token's own node.
func TestTheAuthorizationOfTheDocumentationConfinesToTheOwnNodesPods(t *testing.T) {
	t.Parallel()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs/security.md"))
	if err != nil {
		t.Fatal(err)
	}
	config := regexp.MustCompile("(?s)```yaml\n(apiVersion: apiserver.config.k8s.io/v1\n.*?)```").FindSubmatch(text)
	if config == nil {
		t.Fatal("docs/security.md has no AuthorizationConfiguration")
	}
	c, n := withSGX(t, apiserver.Options{Authorization: string(config[1])})
	ns := c.Namespace(t)
	c.Apply(t, enclavePod("p", "n1", "1Mi")+enclavePod("q", "n2", "1Mi"), "-n", ns)
	bound := c.As(n.api)
	loose := c.As(c.ServiceAccount(t, NodeNamespace, "inlay-node", apiserver.Bound{}))
	for _, tt := range []struct {
		name    string
		by      apiserver.Kubectl
		args    []string
		allowed bool
	}{
		{"its own node's", bound, []string{"-A", "--field-selector=spec.nodeName=n1"}, true},
		{"its own node's and more", bound, []string{"-A", "--field-selector=spec.nodeName=n1,status.phase!=Failed"}, true},
		{"all", bound, []string{"-A"}, false},
		{"another node's", bound, []string{"-A", "--field-selector=spec.nodeName=n2"}, false},
		{"all but its own node's", bound, []string{"-A", "--field-selector=spec.nodeName!=n1"}, false},
		{"those without a node", bound, []string{"-A", "--field-selector=spec.nodeName="}, false},
		{"another field's", bound, []string{"-A", "--field-selector=metadata.name=n1"}, false},
		{"a namespace's", bound, []string{"-n", ns}, false},
		{"one", bound, []string{"q", "-n", ns}, false},
		{"a node's, by a token of none", loose, []string{"-A", "--field-selector=spec.nodeName=n1"}, false},
		{"an administrator's", c.Admin(), []string{"-A"}, true},
	} {
		r := tt.by.Try(t.Context(), "", append([]string{"get", "pods", "-o", "name"}, tt.args...)...)
		if (r.Err == nil) != tt.allowed || (r.Stdout == "") == tt.allowed || !tt.allowed && !strings.Contains(r.Stderr, "https://127.0.0.1:1/") {
			t.Errorf("%s: %q, %v; allowed: %v", tt.name, r.Stdout, r.Err, tt.allowed)
		}
	}
	n.start()
	n.settles("what inlay-deviceplugin needs", func(p *policy.Policy) bool {
		return p.EPC != nil && len(p.EPC.Pods) == 1
	})
}
