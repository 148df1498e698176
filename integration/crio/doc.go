// Package crio runs a real CRI-O with roots, sockets and cgroups of its own and takes
// every trace of it away again, conmons and mounts too, also when the test that started
// it was killed.
package crio
