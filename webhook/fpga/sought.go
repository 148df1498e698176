package fpga

import (
	"slices"
	"strings"

	"github.com/inlay-project/inlay/fpga"
)

// Sought is a mapping that a pod needs and the table does not have: any of a name, or any that leads to these ids. Its
// strings are copies, as the pod has them: no mapping may be able to have such a name or such ids.
type Sought struct {
	Name      string // by which a container asks; "" = it is sought by ids
	Interface fpga.InterfaceID
	Function  fpga.FunctionID // "" = whatever the function
}

// MaxSought is how many mappings are sought for one pod. One that lacks more is no victim of a delay.
const MaxSought = 8

// seek notes a mapping that would have been the right one; once more than MaxSought are, it says so and nothing else.
func (r *review) seek(s Sought) {
	if len(r.sought) > MaxSought || slices.Contains(r.sought, s) {
		return
	}
	r.sought = append(r.sought, Sought{
		strings.Clone(s.Name), fpga.InterfaceID(strings.Clone(string(s.Interface))), fpga.FunctionID(strings.Clone(string(s.Function))),
	})
}

// lack notes a denial that this mapping would lift.
func (r *review) lack(s Sought) {
	r.lacking++
	r.seek(s)
}

// lackPairs notes a denial for pairs of variables that no mapping gives. Only mappings of regions that the container
// asks for could lift it, and only if every pair names one.
func (r *review) lackPairs(as []asked, pairs []pair) {
	for _, p := range pairs {
		if p.region == nil || p.afu == nil || *p.afu == "" ||
			!slices.ContainsFunc(as, func(a asked) bool { return string(a.iface) == *p.region }) {
			return
		}
	}
	r.lacking++
	for _, p := range pairs {
		if i, f := fpga.InterfaceID(*p.region), fpga.FunctionID(*p.afu); r.grantPair(i, f) == nil {
			r.seek(Sought{Interface: i, Function: f})
		}
	}
}

// late gives what is sought, of a pod that is denied for that alone.
func (r *review) late() []Sought {
	if r.lacking != r.denials || len(r.sought) > MaxSought {
		return nil
	}
	return r.sought
}
