package fpga

import (
	"strconv"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// What our variables begin with: all names of that form are reserved. The underscore does not count.
const (
	regionVariables = "FPGA_REGION"
	afuVariables    = "FPGA_AFU"
)

// Pod is a view of a pod: only what translation reads. It lives as long as the JSON that it was made from.
type Pod struct {
	namespace string
	name      string
	// containers are the init containers, then the containers: the order in which they run. Ephemeral containers have
	// no resources and come later than admission.
	containers []container
	resources  []amount // of the pod as a whole (spec.resources), those of our prefix
	affinity   affinity
}

// In is the namespace whose mappings count: the pod's own, or the request's if the pod names none.
func (p Pod) In(request string) string {
	if p.namespace != "" {
		return p.namespace
	}
	return request
}

// Name is the pod's name, or what its name will begin with; "" if it has neither.
func (p Pod) Name() string { return p.name }

type container struct {
	init    bool
	sidecar bool // an init container that keeps running
	index   int
	name    string

	limits, requests []amount // those of our prefix, by name
	env              []byte   // the list as it stands in the JSON; nil = there is none
	reserved         []variable
	prefixes         []string // of envFrom, those that make every name of theirs a reserved one
}

// amount is a resource of our prefix.
type amount struct {
	name string // with the prefix
	quantity
}

// short is the name without the prefix: a mapping's, or a resource's own.
func (a *amount) short() string { return a.name[len(v2.Prefix):] }

// variable is an entry of env with a reserved name.
type variable struct {
	Variable
	plain bool // a value of its own, not one taken from elsewhere
}

// affinity is how much of a required node affinity is there already.
type affinity struct {
	depth affinityDepth
	terms []selectorTerm
}

type affinityDepth int

const (
	noAffinity affinityDepth = iota
	hasAffinity
	hasNodeAffinity
	hasRequired
)

// selectorTerm is one of a list of which a node has to match one.
type selectorTerm struct {
	expressions bool      // has the list
	empty       bool      // has neither expressions nor fields, and so matches no node
	modes       []v2.Mode // asked for by an expression that is like ours
}

// role is the container's kind in words.
func (c *container) role() string {
	switch {
	case c.sidecar:
		return "sidecar"
	case c.init:
		return "init container"
	}
	return "container"
}

// title names a container to a person.
func (c *container) title() string {
	if c.name == "" {
		return c.list() + "[" + strconv.Itoa(c.index) + "]"
	}
	return c.role() + " " + Show(c.name)
}

func (c *container) list() string {
	if c.init {
		return "initContainers"
	}
	return "containers"
}

// Show makes text of a pod, or of another object, fit for a message: what could break a line or a terminal is quoted, what
// is long is cut.
func Show(s string) string {
	const most = 80
	if s == "" || len(s) > most {
		return strconv.Quote(cut(s, most))
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return strconv.Quote(s)
		}
	}
	return s
}

// showResource shows the name by which a container asks for a mapping.
func showResource(name string) string {
	return Show(v2.Prefix + name)
}

// cut shortens s to most bytes, the mark of the cut included, between two characters.
func cut(s string, most int) string {
	const mark = "…"
	if len(s) <= most {
		return s
	}
	end := most - len(mark)
	for end > 0 && s[end]&0xc0 == 0x80 {
		end--
	}
	return s[:end] + mark
}
