// Package enginetest plays the container runtime for an NRI plugin: NRI's own adaptation library, which containerd and
// CRI-O embed, on a socket of the caller's choice, with the connections in the caller's hand so that a restart of the
// runtime can be played too; and the step after it, an adjustment applied to an OCI spec as the runtimes do it.
//
// It is for tests and the demo, in no binary that is deployed. It needs no root.
package enginetest
