package fpga

import v2 "github.com/inlay-project/inlay/webhook/api/v2"

// Options are what an administrator chooses.
type Options struct {
	// ModeAffinity adds node affinity on v2.ModeLabel, so that a pod is not sent to a node whose cards are in another mode.
	ModeAffinity bool
	asks         bool // fill Finding.Asks, which Explain alone reads
}

// Verdict is what becomes of a pod.
type Verdict struct {
	// Patch is what is to be changed; empty if nothing is, and always for a pod that is denied or was only checked.
	Patch []Operation
	// Warnings are for the person who creates the pod: at most 8, of at most 200 bytes each.
	Warnings []string
	// Denied is why the pod is refused; "" means that it is allowed. It is one line.
	Denied string
	// Uses are the mappings by which the pod gets what it gets; empty if it is denied.
	Uses []Use
	// NodeMode is the mode that the patch's node affinity asks for; "" if it adds none.
	NodeMode v2.Mode
	// Containers is what was found of each container, init containers first, in the pod's order.
	Containers []Finding
}

// Use is a mapping that gives a container something.
type Use struct {
	Container string
	Alias     string // the name asked for, with the prefix; the resource itself if the container asks by a raw name
	Kind      v2.Kind
	Name      string
	Resource  string // with the prefix
}

// String writes a use as the audit annotation has it.
func (u Use) String() string {
	return u.Container + ": " + u.Alias + " -> " + string(u.Kind) + "/" + u.Name + " -> " + u.Resource
}

// Variable is an environment variable that a container gets.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Ask is one resource that a container asks for.
type Ask struct {
	Name     string  // with the prefix
	Quantity string  // as the pod has it
	Kind     v2.Kind // of the mapping that gives it; "" = none does
	Mapping  string
	Mode     v2.Mode // "" of a raw region, which is region or regiondevel
	Resource string  // what the container gets; equal to Name for a raw name
}

// Finding is what was found of one container.
type Finding struct {
	Role   string // "container", "init container" or "sidecar"
	Name   string
	Asks   []Ask      // what Explain tells of; empty in other verdicts
	Sets   []Variable // what the patch sets
	Denied []string   // each one sentence, without the container's name
}
