package kube_test

import (
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/inlay-project/inlay/internal/kube"
	"github.com/inlay-project/inlay/internal/kube/kubetest"
)

func TestAClientReadsAndWritesItsKinds(t *testing.T) {
	s := kubetest.New()
	meta := metav1.ObjectMeta{Namespace: "ns", Name: "x", Labels: map[string]string{"a": "b"}}
	for _, tt := range []struct {
		version            schema.GroupVersion
		resource, kind, at string
		object, read       runtime.Object
	}{
		{corev1.SchemeGroupVersion, "secrets", "Secret", "/api/v1", &corev1.Secret{ObjectMeta: meta}, &corev1.Secret{}},
		{
			coordinationv1.SchemeGroupVersion, "leases", "Lease", "/apis/coordination.k8s.io/v1",
			&coordinationv1.Lease{ObjectMeta: meta}, &coordinationv1.Lease{},
		},
	} {
		client, err := kube.Client(s.Config(), tt.version, tt.object)
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Post().Namespace("ns").Resource(tt.resource).Body(tt.object).Do(t.Context()).Error(); err != nil {
			t.Fatalf("%s: %v", tt.kind, err)
		}
		var stored metav1.PartialObjectMetadata
		if !s.Get(tt.at+"/namespaces/ns/"+tt.resource+"/x", &stored) || stored.Kind != tt.kind || stored.Labels["a"] != "b" {
			t.Errorf("%s: stored %+v", tt.kind, stored)
		}
		if err := client.Get().Namespace("ns").Resource(tt.resource).Name("x").Do(t.Context()).Into(tt.read); err != nil {
			t.Errorf("%s: %v", tt.kind, err)
		}
		if m, ok := tt.read.(metav1.Object); !ok || m.GetResourceVersion() == "" || m.GetLabels()["a"] != "b" {
			t.Errorf("%s: read %+v", tt.kind, tt.read)
		}
	}
}

func TestAClientThatCannotBeIsAnError(t *testing.T) {
	c := &rest.Config{Host: "https://x", TLSClientConfig: rest.TLSClientConfig{CAFile: "/nonexistent"}}
	if _, err := kube.Client(c, corev1.SchemeGroupVersion, &corev1.Secret{}); err == nil {
		t.Error("no error")
	}
}
