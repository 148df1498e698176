package mirror

import (
	"maps"
	"time"

	"github.com/inlay-project/inlay/fpga"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// source is what is known of the mappings of one kind with one interface id. It implements follow.Handler. Its fields are
// guarded by the mirror's mutex.
type source struct {
	mirror *Mirror
	kind   v2.Kind
	iface  fpga.InterfaceID

	mappings map[name]lead
	listed   bool      // the mappings are all that there are
	joined   bool      // it was in step once: its mappings are in the file from then on
	at       time.Time // when it was last in step
	away     error     // why it is not
}

// name is the key of a mapping among those of its kind.
type name struct{ namespace, name string }

// lead is where a mapping leads, beside its kind and its interface id.
type lead struct {
	mode     v2.Mode
	function fpga.FunctionID
}

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
	s.mirror.mu.Lock()
	defer s.mirror.mu.Unlock()
	s.listed = true
	if !maps.Equal(s.mappings, all) {
		s.mappings = all
		s.tell()
	}
}

// Upsert implements follow.Handler.
func (s *source) Upsert(o v2.Object) {
	l, ok := s.leads(o)
	if !ok {
		s.Delete(o.GetNamespace(), o.GetName())
		return
	}
	s.mirror.mu.Lock()
	defer s.mirror.mu.Unlock()
	key := name{o.GetNamespace(), o.GetName()}
	if was, there := s.mappings[key]; !there || was != l {
		s.mappings[key] = l
		s.tell()
	}
}

// Delete implements follow.Handler.
func (s *source) Delete(namespace, of string) {
	s.mirror.mu.Lock()
	defer s.mirror.mu.Unlock()
	key := name{namespace, of}
	if _, there := s.mappings[key]; there {
		delete(s.mappings, key)
		s.tell()
	}
}

// tell makes a change of the mappings known, if they are in the file. Called with the mirror's mutex held.
func (s *source) tell() {
	if s.joined {
		s.mirror.changed = true
		s.mirror.nudge()
	}
}

// InStep implements follow.Handler.
func (s *source) InStep(at time.Time) {
	m := s.mirror
	m.mu.Lock()
	defer m.mu.Unlock()
	if !s.listed {
		return // nothing can be in step with what was not told yet
	}
	s.at, s.away = at, nil
	if !s.joined {
		s.joined, m.changed = true, true
	}
	m.stepped()
}

// Away implements follow.Handler.
func (s *source) Away(err error) {
	s.mirror.mu.Lock()
	defer s.mirror.mu.Unlock()
	s.away = err
}
