package fpga

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/inlay-project/inlay/fpga"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

const (
	regionVariable = regionVariables + "_"
	afuVariable    = afuVariables + "_"
)

// reserved refuses variables that are ours to set. They say which function the node programs, so a container may have
// them in one case only: it asks for regions by their own names, and each pair is one that its namespace may have. That
// is what a pod looks like once it is translated.
func (r *review) reserved(c *container, f *Finding, as []asked) {
	if len(c.prefixes) > 0 {
		r.denyContainer(c, f, "envFrom with prefix "+Show(c.prefixes[0])+
			" makes variables that begin with FPGA_REGION or FPGA_AFU, which inlay-webhook alone sets; choose another prefix")
	}
	if len(c.reserved) == 0 {
		return
	}
	why, advice := r.pairFault(c, as)
	if why == "" {
		return
	}
	more := ""
	if n := len(c.reserved); n > 1 {
		more = fmt.Sprintf(" (it has %d such variables)", n)
	}
	r.denyContainer(c, f, why+more+"; "+advice)
}

const (
	adviceRemove = "variables that begin with FPGA_REGION or FPGA_AFU are set by inlay-webhook alone: " +
		"take them out, and ask for the function by the name of its mapping"
	adviceMapping = "take the variables out, and ask for the function by the name of its mapping"
)

// pairFault says which variable a container must not set, why not and what to do instead; "" if its variables are
// exactly those of a translated container.
func (r *review) pairFault(c *container, as []asked) (why, advice string) {
	generic := "sets " + Show(c.reserved[0].Name)
	var sum int64
	for i := range as {
		a := &as[i]
		if !a.raw || a.mode != "" || a.malformed {
			return generic, adviceRemove
		}
		sum += a.n
	}
	if sum == 0 {
		return generic, adviceRemove
	}
	if sum > MaxPerContainer {
		return "", "" // denied for its number
	}
	n := int(sum)
	pairs := make([]pair, n)
	for i := range c.reserved {
		v := &c.reserved[i]
		field := slot(v.Name, pairs)
		switch {
		case field == nil:
			return "sets " + Show(v.Name) + " and asks for " + counted(n, "region"), adviceRemove
		case *field != nil:
			return "sets " + v.Name + " twice", adviceMapping
		case !v.plain:
			return "takes " + v.Name + " from elsewhere (valueFrom)", adviceMapping
		}
		*field = &v.Value
	}
	for k, p := range pairs {
		name := strconv.Itoa(k + 1)
		switch {
		case p.region == nil:
			return "sets " + Show(c.reserved[0].Name) + " and not " + regionVariable + name, adviceMapping
		case p.afu == nil:
			return "sets " + Show(c.reserved[0].Name) + " and not " + afuVariable + name, adviceMapping
		case r.grantPair(fpga.InterfaceID(*p.region), fpga.FunctionID(*p.afu)) == nil:
			r.lackPairs(as, pairs)
			return fmt.Sprintf("sets %s%s=%s with %s%s=%s, which no AcceleratorFunction of mode region in namespace %s gives",
				afuVariable, name, Show(*p.afu), regionVariable, name, Show(*p.region), Show(r.namespace)), adviceMapping
		}
	}
	return miscounted(as, pairs)
}

// grantPair gives the mapping that lets a container have a function in a region by variables of its own.
func (r *review) grantPair(i fpga.InterfaceID, f fpga.FunctionID) *Entry {
	if f == "" {
		return nil
	}
	return r.table.grant(i, v2.ModeRegion, f)
}

// miscounted compares the pairs with the regions asked for.
func miscounted(as []asked, pairs []pair) (why, advice string) {
	given := make(map[string]int64, len(as))
	for _, p := range pairs {
		given[*p.region]++
	}
	for i := range as {
		a := &as[i]
		if has := given[string(a.iface)]; has != a.n {
			return fmt.Sprintf("asks for %d of %s and sets functions for %d", a.n, Show(a.name), has), adviceMapping
		}
	}
	return "", ""
}

// pair is what FPGA_REGION_n and FPGA_AFU_n say; nil = not set.
type pair struct{ region, afu *string }

// slot gives the place of a variable in the pairs 1..n; nil if the name is none of theirs.
func slot(name string, pairs []pair) **string {
	number, isRegion := strings.CutPrefix(name, regionVariable)
	if !isRegion {
		var isAFU bool
		if number, isAFU = strings.CutPrefix(name, afuVariable); !isAFU {
			return nil
		}
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > len(pairs) || strconv.Itoa(n) != number {
		return nil
	}
	if isRegion {
		return &pairs[n-1].region
	}
	return &pairs[n-1].afu
}

// pairs is how many pairs of variables an allowed container brought with it.
func (c *container) pairs() int { return len(c.reserved) / 2 }

// usePairs notes the mappings of a container that is translated already: its variables tell them.
func (r *review) usePairs(c *container, n int) {
	pairs := make([]pair, n)
	for i := range c.reserved {
		if field := slot(c.reserved[i].Name, pairs); field != nil {
			*field = &c.reserved[i].Value
		}
	}
	seen := make(map[*Entry]bool)
	for _, p := range pairs {
		e := r.table.grant(fpga.InterfaceID(*p.region), v2.ModeRegion, fpga.FunctionID(*p.afu))
		if seen[e] {
			continue
		}
		seen[e] = true
		r.verdict.Uses = append(r.verdict.Uses, Use{
			Container: c.name, Alias: e.Target.Resource, Kind: e.Kind, Name: e.Name, Resource: e.Target.Resource,
		})
	}
}
