package fpga

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
	"github.com/inlay-project/inlay/webhook/jsonread"
)

// target is a resource that a container gets in place of its aliases.
type target struct {
	name     string // with the prefix
	n        int64  // raw and by aliases together
	was      int64  // raw
	hasRaw   bool
	hasAlias bool
}

// rewrite writes the operations that put ids in place of a container's aliases.
func (r *review) rewrite(c *container, f *Finding, as []asked) {
	ts := targets(as)
	vs := variables(as)
	r.regionWithoutFunction(c, as)
	if r.check || !slices.ContainsFunc(ts, func(t target) bool { return t.hasAlias }) {
		return
	}
	f.Sets = vs
	const limits, requests = "/resources/limits/fpga.intel.com~1", "/resources/requests/fpga.intel.com~1"
	paths := paths{r.options.Scratch, "/spec/" + c.list() + "/", strconv.Itoa(c.index)}
	for i := range as {
		if !as[i].raw {
			name := escape(as[i].short())
			r.patch("remove", paths.to(limits, name), nil)
			r.patch("remove", paths.to(requests, name), nil)
		}
	}
	for _, t := range ts {
		op := "add"
		switch {
		case !t.hasAlias || t.hasRaw && t.n == t.was:
			continue
		case t.hasRaw:
			op = "replace"
		}
		n := any(strconv.FormatInt(t.n, 10))
		name := t.name[len(v2.Prefix):]
		r.patch(op, paths.to(limits, name), n)
		r.patch(op, paths.to(requests, name), n)
	}
	if len(vs) > 0 {
		r.patch("add", paths.to("/env", ""), paths.environment(vs, c.env))
	}
}

// paths are JSON pointers into one container.
type paths struct {
	*Scratch
	list, index string
}

func (p paths) to(field, name string) string {
	return jsonread.Alias(p.join(p.list, p.index, field, name))
}

// environment is a list that begins with our variables, so that those of the container may refer to them. The
// container's own entries follow as they stand, byte by byte.
func (s *Scratch) environment(vs []Variable, own []byte) json.RawMessage {
	from := len(s.text)
	b := append(s.text, '[')
	for i, v := range vs {
		if i > 0 {
			b = append(b, ',')
		}
		b = v.append(b)
	}
	if len(own) > 0 {
		if own = bytes.TrimSpace(own[1 : len(own)-1]); len(own) > 0 {
			b = append(append(b, ','), own...)
		}
	}
	s.text = append(b, ']')
	return s.since(from)
}

func (r *review) patch(op, path string, value any) {
	r.verdict.Patch = append(r.verdict.Patch, Operation{op, path, value})
}

// targets adds up what a container gets of each resource, by name.
func targets(as []asked) []target {
	ts := make([]target, 0, len(as))
	for i := range as {
		a := &as[i]
		name := a.resource()
		at, there := slices.BinarySearchFunc(ts, name, func(t target, name string) int { return strings.Compare(t.name, name) })
		if !there {
			ts = slices.Insert(ts, at, target{name: name})
		}
		t := &ts[at]
		t.n += a.n
		if a.raw {
			t.hasRaw, t.was = true, a.n
		} else {
			t.hasAlias = true
		}
	}
	return ts
}

// variables are those that tell the node what to program: numbered by alias name, as many of each as are asked for. A
// container with an alias of mode region asks for nothing else.
func variables(as []asked) []Variable {
	n := 0
	for i := range as {
		if as[i].mode == v2.ModeRegion {
			n += int(as[i].n)
		}
	}
	if n == 0 {
		return nil
	}
	vs := make([]Variable, 2*n)
	k := 0
	for i := range as {
		t := &as[i].entry.Target
		for range as[i].n {
			number := strconv.Itoa(k + 1)
			vs[k] = Variable{afuVariable + number, string(t.Function)}
			vs[n+k] = Variable{regionVariable + number, string(t.Interface)}
			k++
		}
	}
	return vs
}

// regionWithoutFunction warns of what the webhook may grant and the node will not.
func (r *review) regionWithoutFunction(c *container, as []asked) {
	if len(c.reserved) > 0 {
		return
	}
	for i := range as {
		a := &as[i]
		if a.raw && a.mode == "" && a.n > 0 && a.entry.Kind != v2.KindFpgaRegion {
			r.warn(c.title() + ": " + Show(a.name) + " without FPGA_AFU_n, and no FpgaRegion leads to it: the node will refuse it; ask by the name of a mapping")
		}
	}
}
