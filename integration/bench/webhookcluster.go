package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/inlay-project/inlay/integration/apiserver"
)

const (
	manyNamespaces = 1000
	aNamespace     = 10 // mappings of a namespace
	atATime        = 24 // requests to an API server
)

var (
	namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	nodes      = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	functions  = schema.GroupVersionResource{Group: "fpga.intel.com", Version: "v2", Resource: "acceleratorfunctions"}
	leases     = schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}
	regions    = schema.GroupVersionResource{Group: "fpga.intel.com", Version: "v2", Resource: "fpgaregions"}
)

// mappingsAt is an API server that knows mappings.
type mappingsAt struct {
	*apiserver.Cluster
	client dynamic.Interface
}

// startMappings starts an API server with the kinds, and no mapping yet.
func (b *bench) startMappings(ctx context.Context) (*mappingsAt, error) {
	c, err := apiserver.New(ctx, apiserver.Options{Log: b.progress})
	if err != nil {
		return nil, err
	}
	m := &mappingsAt{Cluster: c}
	if m.client, err = dynamic.NewForConfig(c.RESTConfig()); err != nil {
		return m, err
	}
	for _, args := range [][]string{
		{"apply", "-k", filepath.Join("deploy", "crds")},
		{"wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"},
		{"create", "namespace", "inlay-system"},
	} {
		if r := c.Admin().Try(ctx, "", args...); r.Err != nil {
			return m, r.Err
		}
	}
	return m, nil
}

func (m *mappingsAt) end(b *bench) {
	if err := m.Close(); err != nil {
		b.say("%v", err)
	}
}

// namespaceName and alias name what seed makes, in names of one length.
func namespaceName(prefix string, i int) string { return fmt.Sprintf("%s-%04d", prefix, i) }
func alias(i int) string                        { return fmt.Sprintf("function-%d", i) }

// seed makes namespaces with mappings of one kind of card, each with functions of its own: of ten mappings the last is
// an FpgaRegion, the last but one in mode af, the others in mode region.
func (m *mappingsAt) seed(ctx context.Context, prefix, card string, count, each int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atATime)
	for i := range count {
		group.Go(func() error {
			ns := namespaceName(prefix, i)
			if err := m.create(ctx, namespaces, "", object("v1", "Namespace", ns, nil)); err != nil {
				return err
			}
			for j := range each {
				resource, made := functions, object("fpga.intel.com/v2", "AcceleratorFunction", alias(j),
					map[string]any{"mode": "region", "interfaceId": card, "afuId": functionID(ns, j)})
				switch j {
				case aNamespace - 1:
					resource, made = regions, object("fpga.intel.com/v2", "FpgaRegion", alias(j), map[string]any{"interfaceId": card})
				case aNamespace - 2:
					_ = unstructured.SetNestedField(made.Object, "af", "spec", "mode") // spec is a map
				}
				if err := m.create(ctx, resource, ns, made); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// takeLead holds the webhook's Lease, so that no replica writes the status of mappings while its answers are measured.
func (m *mappingsAt) takeLead(ctx context.Context) error {
	now := time.Now().UTC().Format(metav1.RFC3339Micro)
	return m.create(ctx, leases, "inlay-system", object("coordination.k8s.io/v1", "Lease", "inlay-webhook", map[string]any{
		"holderIdentity": "bench", "leaseDurationSeconds": int64(3600), "acquireTime": now, "renewTime": now,
	}))
}

// giveLead lets a replica lead from now on.
func (m *mappingsAt) giveLead(ctx context.Context) error {
	return m.client.Resource(leases).Namespace("inlay-system").Delete(ctx, "inlay-webhook", metav1.DeleteOptions{})
}

func (m *mappingsAt) create(ctx context.Context, r schema.GroupVersionResource, ns string, o *unstructured.Unstructured) error {
	var client dynamic.ResourceInterface = m.client.Resource(r)
	if ns != "" {
		client = m.client.Resource(r).Namespace(ns)
	}
	if _, err := client.Create(ctx, o, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create %s %s/%s: %w", r.Resource, ns, o.GetName(), err)
	}
	return nil
}

// functionID is a function that no other mapping has.
func functionID(ns string, i int) string {
	sum := sha256.Sum256(fmt.Append(nil, ns, i))
	return hex.EncodeToString(sum[:16])
}

// change gives mappings of a namespace another function, one after the other.
func (m *mappingsAt) change(ctx context.Context, ns string, n int, every time.Duration) error {
	for i := range n {
		patch := fmt.Appendf(nil, `{"spec":{"afuId":%q}}`, functionID(ns+"-changed", i))
		_, err := m.client.Resource(functions).Namespace(ns).Patch(ctx, alias(i%(aNamespace-2)), "application/merge-patch+json", patch, metav1.PatchOptions{})
		if err != nil {
			return err
		}
		if err := pause(ctx, every); err != nil {
			return err
		}
	}
	return nil
}

func object(version, kind, name string, spec map[string]any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": version, "kind": kind, "metadata": map[string]any{"name": name}}}
	if spec != nil {
		o.Object["spec"] = spec
	}
	return o
}
