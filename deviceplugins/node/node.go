// Package node follows this process's own Node object: an annotation there overrides the FPGA mode, and a label tells
// the scheduler which mode the node is in.
//
// The API server may be away at any time, or refuse the label. Then the last known mode stays, the label is written later,
// and nothing waits.
// Only the own Node is ever read, watched or written.
package node

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sirupsen/logrus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"

	"github.com/inlay-project/inlay/internal/kube"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

const (
	// ModeAnnotation overrides the mode of one node.
	ModeAnnotation = "fpga.intel.com/device-plugin-mode"
	// ModeLabel tells the mode that is in force.
	ModeLabel = v2.ModeLabel
)

const (
	firstRetry = time.Second
	lastRetry  = time.Minute
	// callLimit is for one read or write of the Node; a watch has none, the API server ends it every few minutes.
	callLimit = 10 * time.Second
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
	config, err := kube.Config(kubeconfig, "inlay-deviceplugin")
	if err != nil {
		return nil, err
	}
	return metadata.NewForConfig(config)
}

// Annotation reads the annotation once, for a start in the right mode.
func (o Own) Annotation(ctx context.Context) (string, error) {
	n, err := o.get(ctx)
	if err != nil {
		return "", err
	}
	return n.Annotations[ModeAnnotation], nil
}

// Run follows the Node until ctx ends.
func (o Own) Run(ctx context.Context) {
	f := follower{Own: o}
	retry := firstRetry
	for {
		began := time.Now()
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			o.Log.WithError(err).Warn("this node's object cannot be followed; its mode stays as it is")
		}
		if time.Since(began) > lastRetry {
			retry = firstRetry
		}
		timer := time.NewTimer(scattered(retry))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		retry = min(2*retry, lastRetry)
	}
}

// scattered is a wait of which a quarter is by chance: the nodes of a cluster do not come back all at once.
func scattered(wait time.Duration) time.Duration { return wait*3/4 + rand.N(wait/2) }

// follower is an Own and what it saw last.
type follower struct {
	Own
	known      bool
	annotation string
	mode       string // that Changed gave for it
	label      string // that the Node has

	// Of a label that could not be written.
	refusal string        // the error told last
	wait    time.Duration // before the try after the next
	next    *time.Timer   // nil while no try is due
}

// follow reads the Node and then its changes, until the watch ends. That the label cannot be written ends nothing: the
// annotation counts all the same.
func (f *follower) follow(ctx context.Context) error {
	n, err := f.get(ctx)
	if err != nil {
		return err
	}
	defer f.tryNoMore()
	f.see(ctx, n)
	w, err := f.Client.Resource(nodes).Watch(ctx, metav1.ListOptions{
		FieldSelector:   fields.OneTermEqualSelector("metadata.name", f.Name).String(),
		ResourceVersion: n.ResourceVersion,
	})
	if err != nil {
		return fmt.Errorf("node %s: watch: %w", f.Name, err)
	}
	defer w.Stop()
	for {
		var due <-chan time.Time
		if f.next != nil {
			due = f.next.C
		}
		select {
		case <-due:
			f.next = nil
			f.mend(ctx)
		case event, open := <-w.ResultChan():
			if !open {
				return nil
			}
			n, ok := event.Object.(*metav1.PartialObjectMetadata)
			switch {
			case event.Type == watch.Error:
				return fmt.Errorf("node %s: watch: %w", f.Name, apierrors.FromObject(event.Object))
			case !ok || event.Type == watch.Deleted:
				return fmt.Errorf("node %s: watch: %s", f.Name, event.Type)
			}
			f.see(ctx, n)
		}
	}
}

// see takes a Node's annotation over and mends its label. A Node changes every few minutes for reasons that are not ours,
// and our own write comes back here: only what differs is told, and only what differs is written.
func (f *follower) see(ctx context.Context, n *metav1.PartialObjectMetadata) {
	f.label = n.Labels[ModeLabel]
	if annotation := n.Annotations[ModeAnnotation]; !f.known || annotation != f.annotation {
		f.mode = f.Changed(annotation)
		f.known, f.annotation = true, annotation
		f.tryNoMore() // it was for another label, maybe
		f.wait = 0
	}
	if f.next == nil {
		f.mend(ctx)
	}
}

// mend writes the label where it differs. What is refused is told once, and tried again by and by.
func (f *follower) mend(ctx context.Context) {
	if f.label == f.mode {
		f.refusal, f.wait = "", 0
		return
	}
	err := f.write(ctx, f.mode)
	switch {
	case err == nil:
		f.refusal, f.wait = "", 0
		return
	case ctx.Err() != nil:
		return
	case err.Error() != f.refusal:
		f.Log.WithError(err).Warn("this node's mode label cannot be written, so pods that are sent to nodes of its mode do not come here; it is tried again")
		f.refusal = err.Error()
	}
	f.wait = min(max(2*f.wait, firstRetry), lastRetry)
	f.next = time.NewTimer(scattered(f.wait))
}

// tryNoMore forgets a try that is due.
func (f *follower) tryNoMore() {
	if f.next != nil {
		f.next.Stop()
		f.next = nil
	}
}

func (o Own) get(ctx context.Context) (*metav1.PartialObjectMetadata, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	n, err := o.Client.Resource(nodes).Get(ctx, o.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", o.Name, err)
	}
	return n, nil
}

func (o Own) write(ctx context.Context, mode string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{ModeLabel: mode}}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
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
