// Package crio runs a real CRI-O with roots, sockets and cgroups of its own and takes
// every trace of it away again, conmons and mounts too. After a test that was killed,
// package sweep does that with Options.Trace.
package crio
