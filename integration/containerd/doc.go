// Package containerd runs a real containerd with roots, sockets and cgroups of its own
// and takes every trace of it away again. After a test that was killed, package sweep does
// that with Options.Trace.
package containerd
