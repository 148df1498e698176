package fpga

import (
	"cmp"
	"errors"
	"slices"
	"sort"
	"strings"

	"github.com/inlay-project/inlay/fpga"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// Entry is one mapping of a namespace.
type Entry struct {
	Kind    v2.Kind
	Name    string
	Created int64            // unix seconds; 0 = unknown
	Target  v2.Target        // where it leads, if it is valid
	Invalid *v2.InvalidError // why it leads nowhere
}

// EntryOf is the entry of an object of the API.
func EntryOf(o v2.Object) Entry {
	e := Entry{Kind: o.Kind(), Name: o.GetName()}
	if created := o.GetCreationTimestamp(); !created.IsZero() {
		e.Created = created.Unix()
	}
	var err error
	if e.Target, err = o.Lead(); err != nil && !errors.As(err, &e.Invalid) {
		e.Invalid = &v2.InvalidError{Reason: v2.ReasonInvalidName, Message: err.Error()}
	}
	return e
}

// Table is the mappings of one namespace. It never changes, so many may read it at once; nil is a namespace without any.
type Table struct {
	entries []Entry // by name, then kind
	// grants are the valid ones, by interface, mode and function.
	grants []int32
}

// NewTable makes a table. Of two entries of one kind and name the later one counts.
func NewTable(entries []Entry) *Table {
	t := &Table{entries: slices.Clone(entries)}
	slices.SortStableFunc(t.entries, func(a, b Entry) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(string(a.Kind), string(b.Kind)))
	})
	last := t.entries[:0]
	for i, e := range t.entries {
		if i > 0 && e.Name == last[len(last)-1].Name && e.Kind == last[len(last)-1].Kind {
			last[len(last)-1] = e
			continue
		}
		last = append(last, e)
	}
	clear(t.entries[len(last):])
	t.entries = slices.Clip(last)
	for i := range t.entries {
		e := &t.entries[i]
		if e.Invalid == nil && !strings.HasPrefix(e.Target.Resource, v2.Prefix) {
			e.Invalid = &v2.InvalidError{Reason: v2.ReasonInvalidName, Message: "it leads to no resource of " + v2.Prefix}
		}
		if e.Invalid == nil {
			t.grants = append(t.grants, int32(i))
		}
	}
	slices.SortStableFunc(t.grants, func(a, b int32) int {
		x, y := t.entries[a].Target, t.entries[b].Target
		return compareTarget(x, y.Interface, y.Mode, y.Function)
	})
	return t
}

// With gives a table that has these entries too, but for those whose kind and name are there already.
func (t *Table) With(entries []Entry) *Table {
	switch {
	case len(entries) == 0:
		return t
	case t == nil:
		return NewTable(entries)
	}
	return NewTable(slices.Concat(entries, t.entries))
}

func compareTarget(t v2.Target, i fpga.InterfaceID, m v2.Mode, f fpga.FunctionID) int {
	return cmp.Or(
		strings.Compare(string(t.Interface), string(i)),
		strings.Compare(string(t.Mode), string(m)),
		strings.Compare(string(t.Function), string(f)),
	)
}

// named gives the at most two mappings of a name.
func (t *Table) named(name string) []Entry {
	if t == nil {
		return nil
	}
	from := sort.Search(len(t.entries), func(i int) bool { return t.entries[i].Name >= name })
	to := from
	for to < len(t.entries) && t.entries[to].Name == name {
		to++
	}
	return t.entries[from:to]
}

// owner gives the mapping that a container gets by a name. Nil without a rival: no valid mapping has the name; with one:
// two have it, and neither is older.
func owner(named []Entry) (has, rival *Entry) {
	for i := range named {
		e := &named[i]
		switch {
		case e.Invalid != nil:
		case has == nil:
			has = e
		default:
			rival = e
		}
	}
	if rival == nil {
		return has, nil
	}
	switch {
	case has.Created == 0 || rival.Created == 0 || has.Created == rival.Created:
		return nil, rival
	case rival.Created < has.Created:
		return rival, has
	}
	return has, rival
}

// grant gives the first mapping that leads to an interface in a mode, and to a function if that is not "".
func (t *Table) grant(i fpga.InterfaceID, m v2.Mode, f fpga.FunctionID) *Entry {
	if t == nil {
		return nil
	}
	at := sort.Search(len(t.grants), func(k int) bool {
		return compareTarget(t.entries[t.grants[k]].Target, i, m, f) >= 0
	})
	if at == len(t.grants) {
		return nil
	}
	e := &t.entries[t.grants[at]]
	if e.Target.Interface != i || e.Target.Mode != m || (f != "" && e.Target.Function != f) {
		return nil
	}
	return e
}

// raw gives a mapping that leads to the resource of these ids; a region without an AFU id may be given in two modes.
func (t *Table) raw(i fpga.InterfaceID, a fpga.AFUID) *Entry {
	if a != "" {
		return t.grant(i, v2.ModeAF, fpga.FunctionID(a))
	}
	if e := t.grant(i, v2.ModeRegionDevel, ""); e != nil {
		return e
	}
	return t.grant(i, v2.ModeRegion, "")
}

// Ready tells where one mapping leads: its condition Ready. Unlike Lead it sees the other mappings of the namespace.
// The resource is "" of a mapping by whose name no container gets anything; of a mapping that the table does not have
// the reason is "" too.
func (t *Table) Ready(kind v2.Kind, name string) (ok bool, reason, message, resource string) {
	named := t.named(name)
	at := slices.IndexFunc(named, func(e Entry) bool { return e.Kind == kind })
	if at < 0 {
		return false, "", "there is no " + string(kind) + " " + Show(name), ""
	}
	e := &named[at]
	if e.Invalid != nil {
		return false, e.Invalid.Reason, e.Invalid.Message, ""
	}
	has, rival := owner(named)
	if _, _, raw := rawName(name); raw {
		has, rival = e, nil // nobody gets the mapping by this name: it is the resource's
	}
	switch {
	case has == nil:
		return false, v2.ReasonNameConflict, undecided(name) + "; rename one", ""
	case has != e:
		return false, v2.ReasonNameConflict, string(has.Kind) + " " + Show(name) + " is older and has the name " +
			showResource(name) + "; rename one", ""
	}
	message = "a container that asks for " + showResource(name) + " gets " + e.Target.Resource + ", mode " + string(e.Target.Mode)
	if rival != nil {
		message += "; the younger " + string(rival.Kind) + " of this name leads nowhere"
	}
	return true, v2.ReasonLeadsToResource, message, e.Target.Resource
}

func undecided(name string) string {
	return string(v2.KindAcceleratorFunction) + " " + Show(name) + " and " + string(v2.KindFpgaRegion) + " " + Show(name) +
		" have one name and neither is known to be older, so neither has it"
}
