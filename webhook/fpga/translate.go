package fpga

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/inlay-project/inlay/fpga"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// Translate says what becomes of a pod. The namespace is the request's (the pod's own counts if it names one), the table
// that of p.In(namespace).
func Translate(p Pod, namespace string, t *Table, o Options) Verdict {
	if o.Scratch == nil {
		o.Scratch = &Scratch{}
	}
	o.Scratch.text = o.Scratch.text[:0]
	j := review{pod: &p, namespace: p.In(namespace), table: t, options: o}
	j.verdict.Patch = o.Scratch.patch[:0]
	v := j.run()
	if len(v.Patch) > 0 {
		o.Scratch.patch = v.Patch
	}
	return v
}

// Check judges a pod by the same rules without changing it: what Translate would have to change is denied.
func Check(p Pod, namespace string, t *Table) Verdict {
	j := review{pod: &p, namespace: p.In(namespace), table: t, check: true}
	return j.run()
}

// review is a pod on its way to its verdict.
type review struct {
	pod       *Pod
	namespace string
	table     *Table
	options   Options
	check     bool

	verdict Verdict
	first   string // denial
	denials int
	total   int64     // FPGAs asked for
	asked   int       // names by which they are
	modes   []v2.Mode // that the pod needs its node to be in, in the order in which they were met
	aliases bool      // some of them by an alias: their pods get affinity
	hint    string    // names that the namespace has; made when first needed

	sought  []Sought
	lacking int // denials that what is sought would lift
}

// What of a hostile pod is kept.
const (
	maxWarnings    = 8
	maxWarningText = 200 // bytes
	maxDeniedKept  = 16  // a container
)

func (r *review) run() Verdict {
	cs := r.pod.containers
	r.verdict.Containers = make([]Finding, len(cs))
	for i := range cs {
		r.verdict.Containers[i] = Finding{Role: cs[i].role(), Name: cs[i].name}
		r.container(&cs[i], &r.verdict.Containers[i])
	}
	for _, a := range r.pod.resources {
		r.deny("", "spec.resources asks for "+Show(a.name)+
			": FPGAs are given to containers, so ask in the resources of the container that needs it")
	}
	if r.total > MaxPerPod {
		r.deny("", fmt.Sprintf("its containers ask for %d FPGAs; the most is %d", r.total, MaxPerPod))
	}
	if r.asked > MaxPerPod {
		r.deny("", fmt.Sprintf("its containers ask for FPGAs by %d names; the most is %d", r.asked, MaxPerPod))
	}
	if r.denials > 0 {
		r.verdict.Denied = r.first
		if r.denials > 1 {
			r.verdict.Denied += fmt.Sprintf(" (and %d more)", r.denials-1)
		}
		r.verdict.Patch, r.verdict.Uses = nil, nil
		r.verdict.Sought = r.late()
		return r.verdict
	}
	r.affinity()
	return r.verdict
}

// deny notes one reason against the pod; title is the container's, "" for the pod itself.
func (r *review) deny(title, why string) {
	r.denials++
	if r.first == "" {
		if title == "" {
			title = "pod"
		}
		r.first = title + ": " + why
	}
}

func (r *review) denyContainer(c *container, f *Finding, why string) {
	if len(f.Denied) < maxDeniedKept {
		f.Denied = append(f.Denied, why)
	}
	r.deny(c.title(), why)
}

func (r *review) warn(text string) {
	if len(r.verdict.Warnings) < maxWarnings {
		r.verdict.Warnings = append(r.verdict.Warnings, cut(text, maxWarningText))
	}
}

// asked is one name that a container asks for, with what it stands for.
type asked struct {
	amount
	entry     *Entry // the mapping that gives it; nil = none
	raw       bool
	mode      v2.Mode          // "" of a raw region
	iface     fpga.InterfaceID // of a raw name
	malformed bool             // requests and limits differ, or the number cannot be granted
}

// resource is what the container gets, with the prefix.
func (a *asked) resource() string {
	if a.raw {
		return a.name
	}
	return a.entry.Target.Resource
}

func (r *review) container(c *container, f *Finding) {
	if len(c.limits) == 0 && len(c.requests) == 0 {
		r.reserved(c, f, nil)
		return
	}
	before := r.denials
	n := max(len(c.limits), len(c.requests))
	if r.asked += n; r.asked > MaxPerPod {
		return // denied at the end
	}
	if n > MaxPerContainer {
		r.denyContainer(c, f, fmt.Sprintf("asks for FPGAs by %d names; the most is %d", n, MaxPerContainer))
		return
	}
	as := r.collect(c, f)
	for i := range as {
		r.resolve(c, f, &as[i])
	}
	r.oneMode(c, f, as)
	r.reserved(c, f, as)
	if r.options.asks {
		for i := range as {
			f.Asks = append(f.Asks, ask(&as[i]))
		}
	}
	if r.denials > before || r.total > MaxPerPod {
		return
	}
	if r.check {
		r.nothingLeft(c, f, as)
	}
	from := len(r.verdict.Uses)
	r.use(c, as)
	if r.options.asks {
		f.Uses = slices.Clone(r.verdict.Uses[from:])
	}
	r.rewrite(c, f, as)
}

// collect pairs limits and requests, which for an extended resource have to be equal.
func (r *review) collect(c *container, f *Finding) []asked {
	as := make([]asked, 0, max(len(c.limits), len(c.requests)))
	var sum int64
	limits, requests := c.limits, c.requests
	for len(limits) > 0 || len(requests) > 0 {
		var a asked
		switch {
		case len(requests) == 0 || len(limits) > 0 && limits[0].name < requests[0].name:
			a.amount, limits = limits[0], limits[1:]
			r.denyContainer(c, f, Show(a.name)+" is in its limits and not in its requests; both must ask for the same number")
			a.malformed = true
		case len(limits) == 0 || requests[0].name < limits[0].name:
			a.amount, requests = requests[0], requests[1:]
			r.denyContainer(c, f, Show(a.name)+" is in its requests and not in its limits; both must ask for the same number")
			a.malformed = true
		default:
			a.amount = limits[0]
			why := disagreement(limits[0], requests[0])
			limits, requests = limits[1:], requests[1:]
			if why != "" {
				r.denyContainer(c, f, why)
				a.malformed = true
			}
		}
		if !a.malformed {
			sum += a.n
		}
		as = append(as, a)
	}
	r.total += sum
	if sum > MaxPerContainer {
		r.denyContainer(c, f, fmt.Sprintf("asks for %d FPGAs; the most is %d", sum, MaxPerContainer))
	}
	return as
}

// disagreement says why a resource's limit and request cannot be granted; "" if they can.
func disagreement(limit, request amount) string {
	switch {
	case limit.fault != "":
		return Show(limit.name) + ": limit " + Show(limit.text) + " " + limit.fault
	case request.fault != "":
		return Show(request.name) + ": request " + Show(request.text) + " " + request.fault
	case limit.n != request.n:
		return Show(limit.name) + ": limit " + Show(limit.text) + " and request " + Show(request.text) + " differ; both must be the same number"
	}
	return ""
}

// rawName reads a name that is a resource's own, which never stands for a mapping: what we put into a pod would mean
// something else the next time.
func rawName(name string) (fpga.InterfaceID, fpga.AFUID, bool) {
	if !strings.HasPrefix(name, "region-") && !strings.HasPrefix(name, "af-") {
		return "", "", false
	}
	i, a, err := fpga.ParseResource(name)
	return i, a, err == nil
}

// resolve finds the mapping by which a container may have what it asks for.
func (r *review) resolve(c *container, f *Finding, a *asked) {
	if i, afu, ok := rawName(a.short()); ok {
		a.raw, a.iface = true, i
		switch {
		case afu != "":
			a.mode = v2.ModeAF
			r.note(a, v2.ModeAF)
		case len(c.reserved) > 0:
			r.note(a, v2.ModeRegion)
		}
		if a.entry = r.table.raw(i, afu); a.entry == nil {
			if afu == "" && len(c.reserved) > 0 {
				r.lacking++ // its pairs say what is sought
			} else {
				r.lack(Sought{Interface: i, Function: fpga.FunctionID(afu)})
			}
			r.denyContainer(c, f, "no mapping of namespace "+Show(r.namespace)+" leads to "+Show(a.name))
		}
		return
	}
	named := r.table.named(a.short())
	has, rival := owner(named)
	switch {
	case has != nil:
		a.entry, a.mode = has, has.Target.Mode
		r.note(a, has.Target.Mode)
		r.aliases = r.aliases || a.n > 0
	case rival != nil:
		r.denyContainer(c, f, Show(a.name)+" stands for nothing: in namespace "+Show(r.namespace)+" "+undecided(a.short()))
	case len(named) > 0:
		r.denyContainer(c, f, Show(a.name)+" stands for nothing: "+string(named[0].Kind)+" "+Show(a.short())+
			" of namespace "+Show(r.namespace)+" is invalid: "+named[0].Invalid.Message)
	default:
		if !r.check { // where an alias is denied whether it has a mapping or not
			r.lack(Sought{Name: a.short()})
		}
		r.denyContainer(c, f, "namespace "+Show(r.namespace)+" has no AcceleratorFunction or FpgaRegion named "+Show(a.short())+r.names())
	}
}

// note remembers a mode that the pod needs its node to be in.
func (r *review) note(a *asked, m v2.Mode) {
	if a.n > 0 && !a.malformed && !slices.Contains(r.modes, m) {
		r.modes = append(r.modes, m)
	}
}

// names lists what would have been right.
func (r *review) names() string {
	if r.hint != "" {
		return r.hint
	}
	const most = 5
	var names []string
	more := 0
	var entries []Entry
	if r.table != nil {
		entries = r.table.entries
	}
	for from := 0; from < len(entries); {
		name := entries[from].Name
		to := from + 1
		for to < len(entries) && entries[to].Name == name {
			to++
		}
		switch has, _ := owner(entries[from:to]); {
		case has == nil:
		case len(names) == most:
			more++
		default:
			names = append(names, Show(name))
		}
		from = to
	}
	switch {
	case len(names) == 0:
		r.hint = " (it has none)"
	case more > 0:
		r.hint = " (it has " + strings.Join(names, ", ") + " and " + strconv.Itoa(more) + " more)"
	default:
		r.hint = " (it has " + strings.Join(names, ", ") + ")"
	}
	return r.hint
}

// oneMode sees to it that a container's names can be served together: a node's cards are in one mode, and the node
// tells the modes of one container apart by its variables alone.
func (r *review) oneMode(c *container, f *Finding, as []asked) {
	var first *asked
	for i := range as {
		a := &as[i]
		switch {
		case a.entry == nil:
		case first == nil:
			first = a
		case !fits(first, a):
			r.denyContainer(c, f, describe(first)+" and "+describe(a)+" cannot be in one container"+because(first, a))
			return
		case first.mode == "":
			first = a // says more than a raw region
		}
	}
}

func fits(a, b *asked) bool {
	if a.mode == b.mode {
		return true
	}
	loose := func(m v2.Mode) bool { return m == "" || m == v2.ModeRegionDevel }
	return loose(a.mode) && loose(b.mode)
}

func describe(a *asked) string {
	switch {
	case a.raw && a.mode == "":
		return Show(a.name) + " (a region by its own name)"
	case a.raw:
		return Show(a.name) + " (mode " + string(a.mode) + ")"
	}
	return Show(a.name) + " (" + string(a.entry.Kind) + ", mode " + string(a.mode) + ")"
}

func because(a, b *asked) string {
	if (a.mode == "" && b.mode == v2.ModeRegion) || (b.mode == "" && a.mode == v2.ModeRegion) {
		return ": nothing would say what to program into the region; ask for both by the names of mappings"
	}
	return ": one container gets FPGAs of one mode; ask in two containers"
}

// use notes the mappings by which a container gets what it asks for.
func (r *review) use(c *container, as []asked) {
	if r.verdict.Uses == nil {
		r.verdict.Uses = make([]Use, 0, len(as))
	}
	if pairs := c.pairs(); pairs > 0 {
		r.usePairs(c, pairs)
		return
	}
	for i := range as {
		a := &as[i]
		r.verdict.Uses = append(r.verdict.Uses, Use{
			Container: c.name, Alias: a.name, Kind: a.entry.Kind, Name: a.entry.Name, Resource: a.resource(),
		})
	}
}

func ask(a *asked) Ask {
	k := Ask{Name: a.name, Quantity: a.text, Mode: a.mode}
	if a.entry != nil {
		k.Kind, k.Mapping, k.Resource = a.entry.Kind, a.entry.Name, a.entry.Target.Resource
	}
	return k
}

// nothingLeft denies what the mutating webhook should have translated.
func (r *review) nothingLeft(c *container, f *Finding, as []asked) {
	for i := range as {
		if !as[i].raw {
			r.denyContainer(c, f, Show(as[i].name)+
				" was not translated: it was added after the mutating webhook had seen the pod, or that webhook is not registered")
		}
	}
}
