// Package node follows this process's own Node object: an annotation there overrides the FPGA mode, and a label tells
// the scheduler which mode the node is in.
//
// The API server may be away at any time. Then the last known mode stays, the label is written later, and nothing waits.
package node

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// ModeAnnotation overrides the mode of one node.
	ModeAnnotation = "fpga.intel.com/device-plugin-mode"
	// ModeLabel tells the mode that is in force.
	ModeLabel = "fpga.intel.com/mode"
)

const (
	firstRetry = time.Second
	lastRetry  = time.Minute
	patchLimit = 10 * time.Second
)

var nodes = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}

// Own is one Node, this process's own.
type Own struct {
	Name   string
	Client metadata.Interface
	Log    logrus.FieldLogger
	// Changed is called with the annotation's value ("" = none) when it is first known and at every change. It gives
	// the mode that is in force then, which becomes the label. Calls come one at a time.
	Changed func(annotation string) (mode string)
}

// Client connects to the API server: by a kubeconfig file, or as a pod of the cluster. Outside of a cluster and without
// a file there is none: rest.ErrNotInCluster.
func Client(kubeconfig string) (metadata.Interface, error) {
	var config *rest.Config
	var err error
	if kubeconfig == "" {
		config, err = rest.InClusterConfig()
	} else {
		config, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	}
	if err != nil {
		return nil, err
	}
	return metadata.NewForConfig(config)
}

// Annotation reads the annotation once, for a start in the right mode.
func (o Own) Annotation(ctx context.Context) (string, error) {
	n, err := o.Client.Resource(nodes).Get(ctx, o.Name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("node %s: %w", o.Name, err)
	}
	return n.Annotations[ModeAnnotation], nil
}

// Run follows the Node until ctx ends.
func (o Own) Run(ctx context.Context) error {
	retry := firstRetry
	for ctx.Err() == nil {
		began := time.Now()
		if err := o.follow(ctx); err != nil && ctx.Err() == nil {
			o.Log.WithError(err).Warn("this node's object cannot be followed; its mode stays as it is")
		}
		if time.Since(began) > lastRetry {
			retry = firstRetry
		}
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
		retry = min(2*retry, lastRetry)
	}
	return nil
}

// follow reads the Node and then its changes, until the watch ends.
func (o Own) follow(ctx context.Context) error {
	n, err := o.Client.Resource(nodes).Get(ctx, o.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("node %s: %w", o.Name, err)
	}
	if err := o.see(ctx, n); err != nil {
		return err
	}
	w, err := o.Client.Resource(nodes).Watch(ctx, metav1.ListOptions{
		FieldSelector:   fields.OneTermEqualSelector("metadata.name", o.Name).String(),
		ResourceVersion: n.ResourceVersion,
	})
	if err != nil {
		return fmt.Errorf("node %s: watch: %w", o.Name, err)
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		n, ok := event.Object.(*metav1.PartialObjectMetadata)
		if !ok || event.Type == watch.Deleted {
			return fmt.Errorf("node %s: watch: %s", o.Name, event.Type)
		}
		if err := o.see(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// see takes a Node's annotation over and mends its label. It writes only what differs: our own write comes back here.
func (o Own) see(ctx context.Context, n *metav1.PartialObjectMetadata) error {
	mode := o.Changed(n.Annotations[ModeAnnotation])
	if n.Labels[ModeLabel] == mode {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{ModeLabel: mode}}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patchLimit)
	defer cancel()
	_, err = o.Client.Resource(nodes).Patch(ctx, o.Name, types.MergePatchType, patch, metav1.PatchOptions{
		FieldManager: "inlay-deviceplugin",
	})
	if err != nil {
		return fmt.Errorf("node %s: label %s: %w", o.Name, ModeLabel, err)
	}
	o.Log.WithFields(logrus.Fields{"node": o.Name, "mode": mode}).Info("node labelled")
	return nil
}
