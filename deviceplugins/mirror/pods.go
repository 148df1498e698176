package mirror

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/deviceplugins/sgx/epc"
	"github.com/inlay-project/inlay/internal/policy"
)

// pods is what is known of the node's pods with enclaves. It implements follow.Handler. Its fields are guarded by the
// mirror's mutex.
type pods struct {
	mirror *Mirror

	begun  bool // they are followed
	known  map[name]limits
	listed bool      // they are all that there are
	joined bool      // they were in step once
	at     time.Time // when they were last in step
	away   error     // why they are not
}

// limits are one pod's.
type limits struct {
	uid        string // the runtime's
	static     bool
	containers map[string]int64
}

func (l limits) equal(other limits) bool {
	return l.uid == other.uid && l.static == other.static && maps.Equal(l.containers, other.containers)
}

// Replace implements follow.Handler.
func (p *pods) Replace(all []*epc.Pod) {
	known := map[name]limits{}
	for _, o := range all {
		if o.Enclaves {
			known[name{o.Namespace, o.Name}] = limits{o.RuntimeUID, o.Static, o.Limits}
		}
	}
	p.mirror.mu.Lock()
	defer p.mirror.mu.Unlock()
	p.listed = true
	if !maps.EqualFunc(p.known, known, limits.equal) {
		p.known = known
		p.tell()
	}
}

// Upsert implements follow.Handler.
func (p *pods) Upsert(o *epc.Pod) {
	if !o.Enclaves {
		p.Delete(o.Namespace, o.Name)
		return
	}
	p.mirror.mu.Lock()
	defer p.mirror.mu.Unlock()
	key, now := name{o.Namespace, o.Name}, limits{o.RuntimeUID, o.Static, o.Limits}
	if was, there := p.known[key]; !there || !was.equal(now) {
		p.known[key] = now
		p.tell()
	}
}

// Delete implements follow.Handler.
func (p *pods) Delete(namespace, of string) {
	p.mirror.mu.Lock()
	defer p.mirror.mu.Unlock()
	key := name{namespace, of}
	if _, there := p.known[key]; there {
		delete(p.known, key)
		p.tell()
	}
}

// tell makes a change known, if the pods are in the file. Called with the mirror's mutex held.
func (p *pods) tell() {
	if p.joined {
		p.mirror.changed = true
		p.mirror.nudge()
	}
}

// InStep implements follow.Handler.
func (p *pods) InStep(at time.Time) {
	m := p.mirror
	m.mu.Lock()
	defer m.mu.Unlock()
	if !p.listed {
		return
	}
	p.at, p.away = at, nil
	if !p.joined {
		p.joined, m.changed, m.earlier = true, true, nil
	}
	m.stepped()
}

// Away implements follow.Handler.
func (p *pods) Away(err error) {
	p.mirror.mu.Lock()
	defer p.mirror.mu.Unlock()
	p.away = err
}

// table gives the pods as they are in the file, by the runtime's UID.
//
// Two pods cannot have one UID, but anybody who may create pods can make an object that looks like the copy of a static
// pod and names the UID of another. So a copy never stands in for a pod that has the UID by itself, and of two copies
// neither is believed: the kubelet deletes the wrong one.
func (p *pods) table(log logrus.FieldLogger) *policy.EPC {
	table := &policy.EPC{Pods: make(map[string]policy.EPCPod, len(p.known))}
	copies := map[string][]name{}
	for _, of := range slices.SortedFunc(maps.Keys(p.known), compareNames) {
		l := p.known[of]
		if l.static {
			copies[l.uid] = append(copies[l.uid], of)
			continue
		}
		table.Pods[l.uid] = policy.EPCPod{Namespace: of.namespace, Name: of.name, Containers: l.containers}
	}
	for uid, names := range copies {
		if _, taken := table.Pods[uid]; taken || len(names) > 1 {
			log.WithFields(logrus.Fields{"uid": uid, "namespace": names[0].namespace, "pod": names[0].name}).
				Warn("this copy of a static pod has the UID of another pod and is left out of the policy file")
			continue
		}
		table.Pods[uid] = policy.EPCPod{Namespace: names[0].namespace, Name: names[0].name, Containers: p.known[names[0]].containers}
	}
	return table
}

func compareNames(a, b name) int {
	return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
}
