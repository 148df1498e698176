//go:build integration

package apiserver

import (
	"strings"
	"testing"
)

func TestClusterServesAndLeavesNothing(t *testing.T) {
	c := Start(t, Options{Controllers: []string{"replicaset-controller"}})
	ns := c.Namespace(t)
	c.Apply(t, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"`+ns+`"},"spec":{"containers":[{"name":"c","image":"i"}]}}`)
	if got := c.Kubectl(t, "get", "pod", "p", "-n", ns, "-o", "name"); got != "pod/p\n" {
		t.Errorf("got %q", got)
	}
	config := c.ServiceAccount(t, ns, "default", Bound{})
	who := c.As(config).Run(t, "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
	if who != "system:serviceaccount:"+ns+":default" {
		t.Errorf("the kubeconfig is that of %s", who)
	}
	if r := c.As(config).Try(t.Context(), "", "get", "pods", "-n", ns); r.Err == nil || !strings.Contains(r.Stderr, "forbidden") {
		t.Errorf("a ServiceAccount without rights may list pods: %q %v", r.Stdout, r.Err)
	}
}
