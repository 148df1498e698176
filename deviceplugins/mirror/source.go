package mirror

import (
	"github.com/inlay-project/inlay/fpga"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// source is what is known of the mappings of one kind with one interface id. It implements follow.Handler.
type source struct {
	told[lead]

	kind  v2.Kind
	iface fpga.InterfaceID
}

// lead is where a mapping leads, beside its kind and its interface id.
type lead struct {
	mode     v2.Mode
	function fpga.FunctionID
}

func (l lead) equal(other lead) bool { return l == other }

// leads gives an object's entry. An object that leads nowhere has none, nor has one that leads to other cards: an API
// server that cannot select does not keep those from us.
func (s *source) leads(o v2.Object) (lead, bool) {
	target, err := o.Lead()
	if err != nil {
		s.mirror.c.Log.WithField("mapping", string(s.kind)+" "+o.GetNamespace()+"/"+o.GetName()).WithError(err).
			Debug("a mapping that leads nowhere is left out of the policy file")
		return lead{}, false
	}
	return lead{target.Mode, target.Function}, target.Interface == s.iface && o.Kind() == s.kind
}

// Replace implements follow.Handler.
func (s *source) Replace(objects []v2.Object) {
	all := make(map[name]lead, len(objects))
	for _, o := range objects {
		if l, ok := s.leads(o); ok {
			all[name{o.GetNamespace(), o.GetName()}] = l
		}
	}
	s.replace(all)
}

// Upsert implements follow.Handler.
func (s *source) Upsert(o v2.Object) {
	if l, ok := s.leads(o); ok {
		s.put(name{o.GetNamespace(), o.GetName()}, l)
	} else {
		s.Delete(o.GetNamespace(), o.GetName())
	}
}
