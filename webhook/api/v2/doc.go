// Package v2 is the API group fpga.intel.com/v2: AcceleratorFunction and FpgaRegion, the mappings by which an
// administrator gives FPGA functions to the pods of a namespace.
//
// A mapping does two things. It grants: the pods of its namespace may have exactly these ids. And it names: a container
// asks for one unit of fpga.intel.com/<object name>, and the webhook puts the resource and the ids in its place. Lead
// says where an object leads, or why it leads nowhere; the webhook, the node's policy file and the object's status all
// take that one answer. Objects that no card can ever serve are refused when they are created, by the rules below and
// in the CRDs; stored ones stay, lead nowhere and say so in their status.
//
// Field names, patterns and behaviour are those of the API that users have; objects of it apply unchanged.
//
// +kubebuilder:object:generate=true
// +groupName=fpga.intel.com
package v2

//go:generate go run sigs.k8s.io/controller-tools/cmd/controller-gen@v0.23.0 object paths=. crd:maxDescLen=400 output:crd:dir=../../../deploy/crds
