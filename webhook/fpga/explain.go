package fpga

import (
	"fmt"
	"io"
	"strings"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// Explain writes what becomes of a pod, for a person: of each container what it asks for, which mapping gives that, what
// it gets, which variables are set, and why it is denied if it is. The last line is the verdict. It returns what
// Translate does; errors of the writer are the writer's to keep.
func Explain(w io.Writer, p Pod, namespace string, t *Table, o Options) Verdict {
	o.asks = true
	v := Translate(p, namespace, t, o)
	e := &explanation{verdict: &v}
	name := "pod"
	if p.name != "" {
		name += " " + Show(p.name)
	}
	fmt.Fprintf(e, "%s in namespace %s\n", name, Show(p.In(namespace)))
	for i := range v.Containers {
		e.container(&p.containers[i], &v.Containers[i])
	}
	e.pod(p)
	_, _ = io.WriteString(w, e.String())
	return v
}

type explanation struct {
	strings.Builder
	verdict *Verdict
}

// line writes a label and what belongs to it, in two columns.
func (e *explanation) line(label, text string) {
	fmt.Fprintf(e, "  %-9s  %s\n", label, text)
}

func (e *explanation) container(c *container, f *Finding) {
	fmt.Fprintf(e, "\n%s\n", c.title())
	translated := len(f.Asks) > 0 && len(f.Denied) == 0 && len(c.reserved) > 0
	for i := range f.Asks {
		a := &f.Asks[i]
		e.line("asks for", Show(a.Name)+" × "+Show(a.Quantity))
		if !translated {
			e.gives(a)
		}
	}
	switch {
	case translated:
		e.already(c, f)
	case len(f.Asks) == 0 && len(f.Denied) == 0:
		e.line("asks for", "no FPGA")
	}
	e.variables(e.would("is set", "would set"), f.Sets)
	for _, why := range f.Denied {
		e.line("DENIED", why)
	}
}

// would chooses the words for a pod that is allowed or denied.
func (e *explanation) would(allowed, denied string) string {
	if e.verdict.Denied == "" {
		return allowed
	}
	return denied
}

func (e *explanation) gives(a *Ask) {
	switch {
	case a.Kind == "":
		e.line("given by", "no mapping")
		return
	case a.Mode == "":
		e.line("given by", fmt.Sprintf("%s %s, which leads to it", a.Kind, Show(a.Mapping)))
	default:
		e.line("given by", fmt.Sprintf("%s %s, mode %s: %s", a.Kind, Show(a.Mapping), a.Mode, inWords(a.Mode)))
	}
	label := e.would("gets", "would get")
	if a.Resource == a.Name {
		e.line(label, "that resource, as it is")
		return
	}
	e.line(label, a.Resource+" × "+Show(a.Quantity))
}

func inWords(m v2.Mode) string {
	switch m {
	case v2.ModeAF:
		return "the function is in the card"
	case v2.ModeRegion:
		return "the function is programmed for the container"
	}
	return "the container programs the card itself"
}

// already tells of a container that is as Translate would have made it.
func (e *explanation) already(c *container, f *Finding) {
	vs := make([]Variable, 0, len(c.reserved))
	for _, v := range c.reserved {
		vs = append(vs, v.Variable)
	}
	e.variables("has set", vs)
	for _, u := range f.Uses {
		e.line("given by", fmt.Sprintf("%s %s, mode %s: %s", u.Kind, Show(u.Name), v2.ModeRegion, inWords(v2.ModeRegion)))
	}
	e.line("is", "translated already")
}

func (e *explanation) variables(label string, vs []Variable) {
	wide := 0
	for _, v := range vs {
		wide = max(wide, len(v.Name))
	}
	for _, v := range vs {
		e.line(label, fmt.Sprintf("%-*s  %s", wide, v.Name, v.Value))
		label = ""
	}
}

func (e *explanation) pod(p Pod) {
	v := e.verdict
	e.WriteByte('\n')
	if v.NodeMode != "" {
		fmt.Fprintf(e, "nodes: only those with label %s=%s\n", v2.ModeLabel, v.NodeMode)
	}
	for _, a := range p.resources {
		fmt.Fprintf(e, "DENIED: spec.resources asks for %s\n", Show(a.name))
	}
	for _, warning := range v.Warnings {
		fmt.Fprintf(e, "warning: %s\n", warning)
	}
	switch {
	case v.Denied != "":
		fmt.Fprintf(e, "denied: %s\n", v.Denied)
	case len(v.Patch) == 0:
		e.WriteString("allowed: the pod stays as it is\n")
	default:
		fmt.Fprintf(e, "allowed: the patch has %s\n", counted(len(v.Patch), "operation"))
	}
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
