package mappings

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unique"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/webhook/api/follow"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
	webhook "github.com/inlay-project/inlay/webhook/fpga"
)

// Index is the tables of all namespaces. Its methods are safe for concurrent use.
type Index struct {
	write  sync.Mutex          // held by who changes anything; before mu
	spaces map[string][]record // a namespace's slice never changes: a change makes a new one
	synced map[v2.Kind]bool    // written with mu held too

	mu     sync.RWMutex // held shortly: tables are made before
	tables map[string]*webhook.Table
}

// record is what a table's entry is made of. The handles keep one copy of a string alive for all who have it; a function
// may be one mapping's alone, and a handle costs more than a copy.
type record struct {
	kind     v2.Kind
	name     string
	created  int64
	mode     v2.Mode
	iface    unique.Handle[string]
	function string
	resource unique.Handle[string]
	invalid  *v2.InvalidError
}

// NewIndex makes an index that knows nothing yet.
func NewIndex() *Index {
	return &Index{spaces: map[string][]record{}, synced: map[v2.Kind]bool{}, tables: map[string]*webhook.Table{}}
}

// Table gives the mappings of a namespace; nil is none.
func (x *Index) Table(namespace string) *webhook.Table {
	x.mu.RLock()
	t := x.tables[namespace]
	x.mu.RUnlock()
	return t
}

// Missing tells why the tables are not to be relied on yet; nothing is good.
func (x *Index) Missing() []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var missing []string
	for _, k := range v2.Kinds() {
		if !x.synced[k] {
			missing = append(missing, string(k)+"s are not synchronised yet")
		}
	}
	return missing
}

// Tally is how many mappings of a kind there are.
type Tally struct {
	Ready    int // a container that asks by the name gets something
	NotReady int
}

// Count goes over all mappings, for metrics. Changes do not wait for it.
func (x *Index) Count() map[v2.Kind]Tally { return x.moment().count() }

// moment is all mappings as they were once.
type moment struct {
	spaces map[string][]record
	tables map[string]*webhook.Table
}

func (x *Index) moment() moment {
	x.write.Lock()
	defer x.write.Unlock()
	return moment{maps.Clone(x.spaces), maps.Clone(x.tables)} // tables are only written with write held
}

func (m moment) count() map[v2.Kind]Tally {
	tally := map[v2.Kind]Tally{}
	for _, k := range v2.Kinds() {
		tally[k] = Tally{}
	}
	for namespace, records := range m.spaces {
		table := m.tables[namespace]
		for _, r := range records {
			n := tally[r.kind]
			if ok, _, _, _ := table.Ready(r.kind, r.name); ok {
				n.Ready++
			} else {
				n.NotReady++
			}
			tally[r.kind] = n
		}
	}
	return tally
}

// Handler takes what is told of one kind.
func (x *Index) Handler(kind v2.Kind) follow.Handler[v2.Object] { return handler{x, kind} }

type handler struct {
	*Index
	kind v2.Kind
}

// Replace implements follow.Handler.
func (h handler) Replace(objects []v2.Object) {
	told := map[string][]record{}
	for _, o := range objects {
		told[o.GetNamespace()] = append(told[o.GetNamespace()], recordOf(o))
	}
	h.replace(h.kind, told)
}

// Upsert implements follow.Handler.
func (h handler) Upsert(o v2.Object) {
	h.write.Lock()
	defer h.write.Unlock()
	namespace, r := o.GetNamespace(), recordOf(o)
	records := h.spaces[namespace]
	at, found := slices.BinarySearchFunc(records, r, byName)
	switch {
	case found && same(records[at], r):
		return // its status has changed, or its labels
	case found:
		records = slices.Clone(records)
		records[at] = r
	default:
		records = slices.Insert(slices.Clip(records), at, r) // a copy, since there is no room left
	}
	h.put(namespace, records)
}

// Delete implements follow.Handler.
func (h handler) Delete(namespace, name string) {
	h.write.Lock()
	defer h.write.Unlock()
	records := h.spaces[namespace]
	at, found := slices.BinarySearchFunc(records, record{kind: h.kind, name: name}, byName)
	if found {
		h.put(namespace, slices.Concat(records[:at], records[at+1:]))
	}
}

// InStep implements follow.Handler.
func (h handler) InStep(time.Time) {}

// Away implements follow.Handler: the last known state stays.
func (h handler) Away(error) {}

// put gives a namespace its records. Called with write held.
func (x *Index) put(namespace string, records []record) {
	var table *webhook.Table
	if len(records) == 0 {
		delete(x.spaces, namespace)
	} else {
		x.spaces[namespace] = records
		table = tableOf(records)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if table == nil {
		delete(x.tables, namespace)
	} else {
		x.tables[namespace] = table
	}
}

// replace puts all mappings of one kind in the place of the known ones. Readers see the old tables or the new ones.
func (x *Index) replace(kind v2.Kind, told map[string][]record) {
	x.write.Lock()
	defer x.write.Unlock()
	spaces := make(map[string][]record, len(told))
	for namespace, records := range x.spaces {
		for _, r := range records {
			if r.kind != kind {
				spaces[namespace] = append(spaces[namespace], r)
			}
		}
	}
	for namespace, records := range told {
		spaces[namespace] = append(spaces[namespace], records...)
	}
	tables := make(map[string]*webhook.Table, len(spaces))
	for namespace, records := range spaces {
		slices.SortStableFunc(records, byName)
		if old, known := x.spaces[namespace]; known && slices.EqualFunc(old, records, same) {
			spaces[namespace], tables[namespace] = old, x.tables[namespace]
			continue
		}
		spaces[namespace] = slices.Clip(records)
		tables[namespace] = tableOf(records)
	}
	x.spaces = spaces
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tables = tables
	synced := maps.Clone(x.synced)
	synced[kind] = true
	x.synced = synced
}

func byName(a, b record) int {
	return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(string(a.kind), string(b.kind)))
}

func same(a, b record) bool {
	if a.invalid != nil && b.invalid != nil && *a.invalid == *b.invalid {
		a.invalid, b.invalid = nil, nil
	}
	return a == b
}

func recordOf(o v2.Object) record {
	e := webhook.EntryOf(o)
	r := record{kind: kindOf(e.Kind), name: e.Name, created: e.Created, mode: modeOf(e.Target.Mode), invalid: e.Invalid}
	r.iface = unique.Make(string(e.Target.Interface))
	r.function = strings.Clone(string(e.Target.Function))
	r.resource = unique.Make(e.Target.Resource)
	return r
}

func tableOf(records []record) *webhook.Table {
	entries := make([]webhook.Entry, len(records))
	for i, r := range records {
		entries[i] = webhook.Entry{Kind: r.kind, Name: r.name, Created: r.created, Invalid: r.invalid}
		if r.invalid == nil {
			entries[i].Target = v2.Target{
				Mode: r.mode, Interface: fpga.InterfaceID(r.iface.Value()), Function: fpga.FunctionID(r.function),
				Resource: r.resource.Value(),
			}
		}
	}
	return webhook.NewTable(entries)
}

// kindOf and modeOf give the constants, which cost nothing, for strings that were read.
func kindOf(k v2.Kind) v2.Kind {
	if k == v2.KindFpgaRegion {
		return v2.KindFpgaRegion
	}
	return v2.KindAcceleratorFunction
}

func modeOf(m v2.Mode) v2.Mode {
	for _, known := range []v2.Mode{v2.ModeAF, v2.ModeRegion, v2.ModeRegionDevel} {
		if m == known {
			return known
		}
	}
	return ""
}
