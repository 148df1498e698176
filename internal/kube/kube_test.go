package kube_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/inlay-project/inlay/internal/kube"
)

func TestAKubeconfigFileTellsTheWay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	const text = `apiVersion: v1
kind: Config
current-context: c
clusters: [{name: k, cluster: {server: "https://api.example:6443"}}]
users: [{name: u, user: {token: t0}}]
contexts: [{name: c, context: {cluster: k, user: u}}]
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := kube.Config(file, "inlay-webhook")
	if err != nil {
		t.Fatal(err)
	}
	if c.Host != "https://api.example:6443" || c.BearerToken != "t0" || !strings.HasPrefix(c.UserAgent, "inlay-webhook/") {
		t.Errorf("%+v", c)
	}
}

func TestWithoutAWayTheErrorSaysWhatIsMissing(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := kube.Config("", "inlay-webhook"); !errors.Is(err, rest.ErrNotInCluster) {
		t.Errorf("outside of a cluster: %v", err)
	}
	missing := filepath.Join(t.TempDir(), "missing")
	if _, err := kube.Config(missing, "inlay-webhook"); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("no such file: %v", err)
	}
}
