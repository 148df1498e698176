package mirror

import (
	"cmp"
	"maps"
	"slices"

	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/deviceplugins/sgx/epc"
	"github.com/inlay-project/inlay/internal/policy"
)

// pods is what is known of the node's pods with enclaves. It implements follow.Handler.
type pods struct {
	told[limits]

	begun bool // they are followed
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
	p.replace(known)
}

// Upsert implements follow.Handler.
func (p *pods) Upsert(o *epc.Pod) {
	if o.Enclaves {
		p.put(name{o.Namespace, o.Name}, limits{o.RuntimeUID, o.Static, o.Limits})
	} else {
		p.Delete(o.Namespace, o.Name)
	}
}

// table gives the pods as they are in the file, by the runtime's UID.
//
// Two pods cannot have one UID, but anybody who may create pods can make an object that looks like the copy of a static
// pod and names the UID of another. So a copy never stands in for a pod that has the UID by itself, and of two copies
// neither is believed: the kubelet deletes the wrong one.
func (p *pods) table(log logrus.FieldLogger) *policy.EPC {
	table := &policy.EPC{Pods: make(map[string]policy.EPCPod, len(p.entries))}
	copies := map[string][]name{}
	for _, of := range slices.SortedFunc(maps.Keys(p.entries), compareNames) {
		l := p.entries[of]
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
		table.Pods[uid] = policy.EPCPod{Namespace: names[0].namespace, Name: names[0].name, Containers: p.entries[names[0]].containers}
	}
	return table
}

func compareNames(a, b name) int {
	return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
}
