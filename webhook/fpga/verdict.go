package fpga

import (
	"unsafe"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// Options are what an administrator chooses.
type Options struct {
	// ModeAffinity adds node affinity on v2.ModeLabel, so that a pod is not sent to a node whose cards are in another mode.
	ModeAffinity bool
	// Scratch is memory for the patch; nil takes new. A verdict's patch is good until the next one that takes the same.
	Scratch *Scratch
	asks    bool // fill Finding.Asks and Finding.Uses, which Explain alone reads
}

// Scratch is memory that patches take one after the other. The zero value is ready; one goroutine uses it at a time.
type Scratch struct {
	patch []Operation
	text  []byte // of paths and values
}

// Size is how many bytes it holds.
func (s *Scratch) Size() int {
	return cap(s.text) + cap(s.patch)*int(unsafe.Sizeof(Operation{}))
}

// join makes a text of its parts.
func (s *Scratch) join(parts ...string) []byte {
	from := len(s.text)
	for _, p := range parts {
		s.text = append(s.text, p...)
	}
	return s.since(from)
}

// since gives the text from a place on, such that nobody appends to it.
func (s *Scratch) since(from int) []byte { return s.text[from:len(s.text):len(s.text)] }

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
	// Sought are the mappings for whose absence the pod is denied, if it is for nothing else. Should the API server have
	// them already, translate again with a table that does; see Table.With.
	Sought []Sought
	// NodeMode is the mode that the patch's node affinity asks for; "" if it adds none.
	NodeMode v2.Mode
	// Containers is what was found of each container, init containers first, in the pod's order.
	Containers []Finding
}

// Use is a mapping that gives a container something.
type Use struct {
	Container string // as the pod has it: of any length, with anything in it
	Alias     string // the name asked for, with the prefix; the resource itself if the container asks by a raw name
	Kind      v2.Kind
	Name      string
	Resource  string // with the prefix
}

// String writes a use as the audit annotation has it: in one line of less than 1 KiB, whatever the container is called.
func (u Use) String() string {
	return Show(u.Container) + ": " + u.Alias + " -> " + string(u.Kind) + "/" + u.Name + " -> " + u.Resource
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
	Uses   []Use      // the same, of a pod that is denied too
	Sets   []Variable // what the patch sets
	Denied []string   // each one sentence, without the container's name
}
