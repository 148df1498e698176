// Package containerd runs a real containerd with roots, sockets and cgroups of its own
// and takes every trace of it away again, also when the test that started it was killed.
package containerd
