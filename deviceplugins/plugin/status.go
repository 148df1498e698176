package plugin

import (
	"slices"
	"strings"
)

// Status is the state of an Engine, for readiness checks and for people.
type Status struct {
	Families  []FamilyStatus
	Resources []ResourceStatus // by name
	// Deaf says which sources of events are missing. Devices are still found, by the audits.
	Deaf []string
	// Missing says in words what is not as it should be: families not scanned, resources that the kubelet does not have.
	Missing []string
}

// Ready reports whether all families have been scanned and the kubelet has every resource.
func (s Status) Ready() bool { return len(s.Missing) == 0 }

// Status of the Engine now. It may be called at any time, but not from an Observer.
func (e *Engine) Status() Status {
	var s Status
	for _, f := range e.scanners {
		f.mu.Lock()
		state := f.state
		f.mu.Unlock()
		s.Families = append(s.Families, state)
		if m := state.missing(); m != "" {
			s.Missing = append(s.Missing, m)
		}
	}
	e.mu.Lock()
	resources := make([]*resource, 0, len(e.resources))
	for _, r := range e.resources {
		resources = append(resources, r)
	}
	s.Deaf = slices.Clone(e.deaf)
	e.mu.Unlock()
	for _, r := range resources {
		s.Resources = append(s.Resources, r.status())
	}
	slices.SortFunc(s.Resources, func(a, b ResourceStatus) int { return strings.Compare(a.Resource, b.Resource) })
	for _, r := range s.Resources {
		if m := r.missing(); m != "" {
			s.Missing = append(s.Missing, m)
		}
	}
	return s
}
