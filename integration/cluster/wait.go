package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// readyLimit is how long the node may take from the start of its kubelet.
const readyLimit = 2 * time.Minute

// waitNode waits until the node is Ready and pods are admitted.
func (c *Cluster) waitNode(ctx context.Context) error {
	return c.Await(ctx, readyLimit, "the node", func(ctx context.Context) error {
		n, err := c.Node(ctx)
		if err != nil {
			return err
		}
		if _, err := c.client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{}); err != nil {
			return err
		}
		for _, taint := range n.Spec.Taints {
			if taint.Key == corev1.TaintNodeNotReady {
				return errors.New("it has the taint " + taint.Key)
			}
		}
		return isReady(n)
	})
}

func isReady(n *corev1.Node) error {
	for _, condition := range n.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			if condition.Status == corev1.ConditionTrue {
				return nil
			}
			return fmt.Errorf("not Ready: %s", condition.Message)
		}
	}
	return errors.New("it has no condition Ready")
}

// Node is the cluster's only node as the API server has it.
func (c *Cluster) Node(ctx context.Context) (*corev1.Node, error) {
	return c.client.CoreV1().Nodes().Get(ctx, NodeName, metav1.GetOptions{})
}

// Allocatable is how many devices of a resource the Node says that its pods can have; 0 if it does not know it.
func (c *Cluster) Allocatable(ctx context.Context, resource string) (int64, error) {
	n, err := c.Node(ctx)
	if err != nil {
		return 0, err
	}
	quantity := n.Status.Allocatable[corev1.ResourceName(resource)]
	return quantity.Value(), nil
}

// Await calls check until it returns nil, and fails with its last error when the limit has passed.
func (c *Cluster) Await(ctx context.Context, limit time.Duration, what string, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil { // the error of a call that was cut off tells nothing
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %v: %w", what, limit, last)
		}
	}
}

// lookEvery is how often a condition of the API server is looked at.
const lookEvery = 50 * time.Millisecond
