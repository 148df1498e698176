// Package cri drives a container runtime through the Kubernetes CRI as a kubelet does,
// in the few calls that a test needs: a pod in the host's network, containers in it,
// their output and their end.
package cri
