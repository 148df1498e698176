// Package hostile is a table of pods and requests that try to get an FPGA function without a mapping, or to break the
// patch that the webhook makes, and of what stops each.
//
// A case names the rule that it tests and its outcome twice: on an API server with the webhook, and on a node whose
// webhook is switched off, where inlay-nri, the policy file and the hook stand alone. Three runners hold Inlay to it:
//
//   - the unit test puts every case through the webhook's own functions (go test, no tag);
//   - the node test runs every pod on real containerd with emulated cards, in each of the three modes, as a kubelet
//     would, and lets the containers read their functions through the port;
//   - the API server test creates every pod with kubectl's own requests, first with the webhook and then without.
//
// Whatever a case expects, one thing holds for all: no container ever reads a function that its namespace has no
// mapping for. Some cases are run again with a guard taken out, and must then succeed: the table can fail.
//
// The world that the cases live in, its namespaces, mappings and cards, is in world.go.
package hostile
