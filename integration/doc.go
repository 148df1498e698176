// Package integration starts a node of real components for a test, with an emulated
// FPGA card and Inlay's own programs on it, and takes it down again without a trace.
//
// A scenario reads like this:
//
//	n := integration.StartNode(t, tools, integration.NodeOptions{})
//	c := n.RunPod("plain").Run(integration.Shell("echo hello"))
//	if got := c.Wait().Output; got != "hello\n" { … }
//
// The runtime is containerd; NodeOptions{Runtime: integration.CRIO} is the same node on
// CRI-O, with the tools of Tools.WithRuntime.
//
// Every method fails the test itself when the components do not do what was asked; what
// may fail on purpose has a Try form that returns the error. Nodes are independent of
// each other: folders, sockets, cgroups and mounts are their own, so tests may run in
// parallel. When a test fails the logs of all components are kept and their place is
// printed.
//
// The tests of this package need root and carry the build tag integration; see
// docs/develop.md.
package integration
