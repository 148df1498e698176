// Package daemon starts the daemon of a container runtime, knows when its CRI answers, and
// takes it away again with all that it has started. What a runtime has of its own, its
// program, files and quirks, is in the packages containerd and crio.
package daemon
