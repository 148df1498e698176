//go:build integration

package admission

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/integration/apiserver"
)

// TestManifests looks at what deploy/ gives and holds back, on one API server in which nothing runs.
func TestManifests(t *testing.T) {
	t.Parallel()
	c := manifests(t)
	c.Apply(t, ownNodes)
	for _, part := range []struct {
		name string
		test func(*testing.T, *apiserver.Cluster)
	}{
		{"accounts have the rights they need and no others", testRights},
		{"a node's token changes one label of its own Node", testOwnNode},
		{"only pods that ask for FPGAs reach the webhook", testCondition},
		{"both registrations have one condition", testOneCondition},
		{"the policy holds whatever roles the account gets", testTooManyRights}, // last: it gives rights
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, c) })
	}
}

// manifests starts a cluster with everything of deploy/ and nothing that runs.
func manifests(t *testing.T) *apiserver.Cluster {
	t.Helper()
	// The controller checks the types of the policy's expressions.
	c := apiserver.Start(t, apiserver.Options{Controllers: []string{"validatingadmissionpolicy-status-controller"}})
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"crds", "webhook", "node"} {
		c.Kubectl(t, "apply", "-k", filepath.Join(root, "deploy", part))
	}
	c.Kubectl(t, "wait", "--for=condition=Established", "--timeout=30s", "crd/acceleratorfunctions.fpga.intel.com", "crd/fpgaregions.fpga.intel.com")
	return c
}

// may tells whether a ServiceAccount of deploy/ may do something, in words of `kubectl auth can-i`.
func may(t *testing.T, c *apiserver.Cluster, account, what string) bool {
	t.Helper()
	namespace := Namespace
	if account == "inlay-node" {
		namespace = NodeNamespace
	}
	args := append([]string{"auth", "can-i", "--as", "system:serviceaccount:" + namespace + ":" + account}, strings.Fields(what)...)
	r := c.Admin().Try(t.Context(), "", args...)
	switch answer := strings.TrimSpace(r.Stdout); answer {
	case "yes":
		return true
	case "no":
		return false
	default:
		t.Fatalf("%s %s: %q %v", account, what, answer, r.Err)
		return false
	}
}

func testRights(t *testing.T, c *apiserver.Cluster) {
	for account, rights := range map[string]struct{ yes, no []string }{
		"inlay-webhook": {
			yes: []string{
				"list acceleratorfunctions.fpga.intel.com -A",
				"watch fpgaregions.fpga.intel.com -A",
				"update acceleratorfunctions.fpga.intel.com/n3o --subresource=status -n any",
				"update fpgaregions.fpga.intel.com/a10 --subresource=status -n any",
				"create events.events.k8s.io -n any",
				"get secret/inlay-webhook-certs -n inlay-system",
				"watch secret/inlay-webhook-certs -n inlay-system",
				"update secret/inlay-webhook-certs -n inlay-system",
				"get lease/inlay-webhook -n inlay-system",
				"update lease/inlay-webhook -n inlay-system",
				"create leases.coordination.k8s.io -n inlay-system",
				"watch mutatingwebhookconfigurations/inlay-webhook",
				"patch mutatingwebhookconfigurations/inlay-webhook",
				"watch validatingwebhookconfigurations/inlay-webhook",
				"patch validatingwebhookconfigurations/inlay-webhook",
			},
			no: []string{
				"update acceleratorfunctions.fpga.intel.com/n3o -n any",
				"create fpgaregions.fpga.intel.com -n any",
				"delete fpgaregions.fpga.intel.com/a10 -n any",
				"get pods -n any",
				"list events.events.k8s.io -n any",
				"list secrets -n inlay-system",
				"get secret/other -n inlay-system",
				"get secret/inlay-webhook-certs -n any",
				"create secrets -n inlay-system",
				"delete secret/inlay-webhook-certs -n inlay-system",
				"update lease/other -n inlay-system",
				"create leases.coordination.k8s.io -n any",
				"list mutatingwebhookconfigurations",
				"patch mutatingwebhookconfigurations/other",
				"update mutatingwebhookconfigurations/inlay-webhook",
				"delete validatingwebhookconfigurations/inlay-webhook",
				"create validatingwebhookconfigurations",
				"get nodes",
			},
		},
		"inlay-node": {
			yes: []string{
				"get node/n1",
				"watch node/n1",
				"patch node/n1",
				"list acceleratorfunctions.fpga.intel.com -A",
				"watch fpgaregions.fpga.intel.com -A",
			},
			no: []string{
				"list nodes",
				"update node/n1",
				"create nodes",
				"delete node/n1",
				"patch node/n1 --subresource=status",
				"get node/n1 --subresource=proxy",
				"patch acceleratorfunctions.fpga.intel.com/n3o -n any",
				"patch acceleratorfunctions.fpga.intel.com/n3o --subresource=status -n any",
				"get pods -n inlay-system",
				"get secret/inlay-webhook-certs -n inlay-system",
				"create serviceaccounts/inlay-node --subresource=token -n inlay-node",
			},
		},
	} {
		for _, what := range rights.yes {
			if !may(t, c, account, what) {
				t.Errorf("%s may not: %s", account, what)
			}
		}
		for _, what := range rights.no {
			if may(t, c, account, what) {
				t.Errorf("%s may: %s", account, what)
			}
		}
	}
}

// ownNodes makes two Nodes and a pod of the account inlay-node on the first of them.
const ownNodes = `
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {zone: a}, annotations: {example.com/owner: ops}}
spec: {taints: [{key: example.com/fpga, effect: NoSchedule}]}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}}
---
apiVersion: v1
kind: Pod
metadata: {name: deviceplugin, namespace: inlay-node}
spec:
  serviceAccountName: inlay-node
  nodeName: n1
  tolerations: [{operator: Exists}]
  securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: main
      image: i
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
`

func testOwnNode(t *testing.T, c *apiserver.Cluster) {
	bound := c.As(c.ServiceAccount(t, NodeNamespace, "inlay-node", apiserver.Bound{Kind: "Pod", Name: "deviceplugin"}))
	// As docs/install.md has it for a node without a DaemonSet.
	byHand := c.As(c.ServiceAccount(t, NodeNamespace, "inlay-node", apiserver.Bound{Kind: "Node", Name: "n1"}))
	loose := c.As(c.ServiceAccount(t, NodeNamespace, "inlay-node", apiserver.Bound{}))
	patch := func(k apiserver.Kubectl, node, text string, more ...string) apiserver.Result {
		return k.Try(t.Context(), "", append([]string{"patch", "node", node, "--type=merge", "-p", text}, more...)...)
	}
	const label = `{"metadata":{"labels":{"fpga.intel.com/mode":"region"}}}`
	// A policy is in force a moment after it is stored.
	apiserver.Eventually(t, waiting, "the policy is in force", func() error {
		if r := patch(loose, "n1", `{"metadata":{"labels":{"fpga.intel.com/mode":"probe"}}}`, "--dry-run=server"); r.Err == nil {
			return errNotYet
		}
		return nil
	})
	for _, refused := range []struct {
		name, node, patch, says string
		by                      apiserver.Kubectl
		more                    []string
	}{
		{"another node", "n2", label, "its own Node only, which is n1, not n2", bound, nil},
		{"another node, by a token bound to a Node", "n2", label, "its own Node only, which is n1, not n2", byHand, nil},
		{"a token of no node", "n1", label, "its token names none", loose, nil},
		{"another label", "n1", `{"metadata":{"labels":{"fpga.intel.com/modes":"region"}}}`, "no label of its Node but fpga.intel.com/mode", bound, nil},
		{"another label beside ours", "n1", `{"metadata":{"labels":{"fpga.intel.com/mode":"region","zone":"b"}}}`, "no label of its Node but", bound, nil},
		{"a label taken away", "n1", `{"metadata":{"labels":{"zone":null}}}`, "no label of its Node but", bound, nil},
		{"an annotation", "n1", `{"metadata":{"annotations":{"fpga.intel.com/device-plugin-mode":"af"}}}`, "nothing of its Node but", bound, nil},
		{"an annotation taken away", "n1", `{"metadata":{"annotations":null}}`, "nothing of its Node but", bound, nil},
		{"a finalizer", "n1", `{"metadata":{"finalizers":["example.com/mine"]}}`, "nothing of its Node but", bound, nil},
		{"an owner", "n1", `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n2","uid":"1"}]}}`, "nothing of its Node but", bound, nil},
		{"a taint", "n1", `{"spec":{"taints":[{"key":"example.com/mine","effect":"NoExecute"}]}}`, "nothing of its Node but", bound, nil},
		{"a taint taken away", "n1", `{"spec":{"taints":null}}`, "nothing of its Node but", bound, nil},
		{"a cordon", "n1", `{"spec":{"unschedulable":true}}`, "nothing of its Node but", bound, nil},
		{"status", "n1", `{"status":{"capacity":{"fpga.intel.com/free":"9"}}}`, "forbidden", bound, []string{"--subresource=status"}},
	} {
		r := patch(refused.by, refused.node, refused.patch, refused.more...)
		if r.Err == nil || !strings.Contains(r.Stderr, refused.says) {
			t.Errorf("%s: the answer is %q, %q; want a refusal that says %q", refused.name, r.Stdout, r.Stderr, refused.says)
		}
	}
	for _, allowed := range []string{label, `{"metadata":{"labels":{"fpga.intel.com/mode":"af"}}}`, `{"metadata":{"labels":{"fpga.intel.com/mode":null}}}`, label} {
		if r := patch(bound, "n1", allowed); r.Err != nil {
			t.Errorf("its own label: %v", r.Err)
		}
		if r := patch(byHand, "n1", allowed); r.Err != nil {
			t.Errorf("its own label, by a token bound to a Node: %v", r.Err)
		}
	}
	// Status in a patch of the Node itself is dropped by the API server, by whomever.
	if r := patch(bound, "n1", `{"status":{"capacity":{"fpga.intel.com/free":"9"}}}`); r.Err == nil {
		if got := c.Kubectl(t, "get", "node", "n1", "-o", "jsonpath={.status.capacity}"); got != "" {
			t.Errorf("capacity %s", got)
		}
	}
	if got := c.Kubectl(t, "get", "node", "n1", "-o", "jsonpath={.metadata.labels}"); got != `{"fpga.intel.com/mode":"region","zone":"a"}` {
		t.Errorf("labels of n1: %s", got)
	}
}

func testTooManyRights(t *testing.T, c *apiserver.Cluster) {
	c.Kubectl(t, "create", "clusterrole", "too-much", "--verb=*", "--resource=nodes,nodes/status")
	c.Kubectl(t, "create", "clusterrolebinding", "too-much", "--clusterrole=too-much", "--serviceaccount="+NodeNamespace+":inlay-node")
	bound := c.As(c.ServiceAccount(t, NodeNamespace, "inlay-node", apiserver.Bound{Kind: "Pod", Name: "deviceplugin"}))
	apiserver.Eventually(t, waiting, "the policy is in force", func() error {
		if r := bound.Try(t.Context(), "", "delete", "node", "n2", "--dry-run=server"); r.Err == nil || !strings.Contains(r.Stderr, "may not create or delete") {
			return errNotYet
		}
		return nil
	})
	for name, args := range map[string][]string{
		"status":          {"patch", "node", "n1", "--subresource=status", "--type=merge", "-p", `{"status":{"capacity":{"fpga.intel.com/free":"9"}}}`},
		"its own end":     {"delete", "node", "n1"},
		"another's end":   {"delete", "node", "n2"},
		"everybody's end": {"delete", "nodes", "--all"},
		"a new one":       {"create", "-f", "-"},
	} {
		r := bound.Try(t.Context(), `{"apiVersion":"v1","kind":"Node","metadata":{"name":"n3"}}`, args...)
		if r.Err == nil || !strings.Contains(r.Stderr, "ValidatingAdmissionPolicy 'inlay-node'") {
			t.Errorf("%s: %q, %q; want the policy's refusal", name, r.Stdout, r.Stderr)
		}
	}
	// Others are not held.
	c.Kubectl(t, "label", "node", "n2", "example.com/by=admin")
	apiserver.Eventually(t, waiting, "the policy's expressions are checked", func() error {
		r := c.Admin().Try(t.Context(), "", "get", "validatingadmissionpolicy", "inlay-node", "-o", "jsonpath={.status.observedGeneration} {.status.typeChecking}")
		seen, warnings, _ := strings.Cut(r.Stdout, " ")
		if seen == "" || r.Err != nil {
			return errNotYet
		}
		if strings.Contains(warnings, "expressionWarnings") {
			t.Fatalf("the API server warns of the policy: %s", warnings)
		}
		return nil
	})
}

const errNotYet = notYetError("not yet")

type notYetError string

func (e notYetError) Error() string { return string(e) }
