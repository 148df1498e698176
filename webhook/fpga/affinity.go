package fpga

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/valyala/fastjson"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// decode reads how much of a required node affinity there is.
func (a *affinity) decode(v *fastjson.Value) error {
	return deeper(v, "nodeAffinity", a, hasAffinity, func(v *fastjson.Value) error {
		const required = "requiredDuringSchedulingIgnoredDuringExecution"
		return deeper(v, required, a, hasNodeAffinity, func(v *fastjson.Value) error {
			return deeper(v, "nodeSelectorTerms", a, hasRequired, a.decodeTerms)
		})
	})
}

// deeper reads one field of an object of that depth.
func deeper(v *fastjson.Value, field string, a *affinity, depth affinityDepth, read func(*fastjson.Value) error) error {
	if v.Type() == fastjson.TypeNull {
		return nil
	}
	a.depth = depth
	seen := fields(0)
	return each(v, func(key []byte, v *fastjson.Value) error {
		if string(key) != field {
			return nil
		}
		return in(field, seen.once(0), func() error { return read(v) })
	})
}

func (a *affinity) decodeTerms(v *fastjson.Value) error {
	_, err := all(v, func(_ int, v *fastjson.Value) error {
		t := selectorTerm{empty: true}
		seen := fields(0)
		err := each(v, func(key []byte, v *fastjson.Value) error {
			switch string(key) {
			case "matchExpressions":
				return in("matchExpressions", seen.once(0), func() (err error) {
					t.expressions, err = all(v, func(_ int, v *fastjson.Value) error {
						t.empty = false
						return t.decodeExpression(v)
					})
					return err
				})
			case "matchFields":
				return in("matchFields", seen.once(1), func() error {
					_, err := all(v, func(int, *fastjson.Value) error {
						t.empty = false
						return nil
					})
					return err
				})
			}
			return nil
		})
		a.terms = append(a.terms, t)
		return err
	})
	return err
}

func (t *selectorTerm) decodeExpression(v *fastjson.Value) error {
	var key, operator, value []byte
	values := 0
	seen := fields(0)
	err := each(v, func(k []byte, v *fastjson.Value) error {
		switch string(k) {
		case "key":
			return in("key", seen.once(0), func() error { return text(v, &key) })
		case "operator":
			return in("operator", seen.once(1), func() error { return text(v, &operator) })
		case "values":
			return in("values", seen.once(2), func() error {
				_, err := all(v, func(_ int, v *fastjson.Value) error {
					values++
					return text(v, &value)
				})
				return err
			})
		}
		return nil
	})
	if err == nil && values == 1 && string(key) == ModeLabel && string(operator) == "In" {
		t.modes = append(t.modes, v2.Mode(value))
	}
	return err
}

// affinity sends the pod to nodes of the mode that it needs. Terms are alternatives, so each gets the expression.
func (r *review) affinity() {
	if len(r.modes) > 1 {
		r.warn("its containers ask for FPGAs of modes " + string(r.modes[0]) + " and " + string(r.modes[1]) +
			"; the cards of a node are all of one mode, so no node can run this pod")
	}
	if !r.options.ModeAffinity || r.check || len(r.modes) != 1 {
		return
	}
	const (
		affinityPath = "/spec/affinity"
		nodePath     = affinityPath + "/nodeAffinity"
		requiredPath = nodePath + "/requiredDuringSchedulingIgnoredDuringExecution"
		termsPath    = requiredPath + "/nodeSelectorTerms/"
	)
	const (
		expressionOpen, expressionEnd = `{"key":"` + ModeLabel + `","operator":"In","values":["`, `"]}`
		requiredOpen, requiredEnd     = `{"nodeSelectorTerms":[{"matchExpressions":[` + expressionOpen, expressionEnd + `]}]}`
		nodeOpen, nodeEnd             = `{"requiredDuringSchedulingIgnoredDuringExecution":` + requiredOpen, requiredEnd + `}`
		affinityOpen, affinityEnd     = `{"nodeAffinity":` + nodeOpen, nodeEnd + `}`
	)
	mode := r.modes[0]
	add := func(path, open, end string) {
		value := make(json.RawMessage, 0, len(open)+len(mode)+len(end))
		r.patch("add", path, append(append(append(value, open...), mode...), end...))
		r.verdict.NodeMode = mode
	}
	switch r.pod.affinity.depth {
	case noAffinity:
		add(affinityPath, affinityOpen, affinityEnd)
	case hasAffinity:
		add(nodePath, nodeOpen, nodeEnd)
	case hasNodeAffinity:
		add(requiredPath, requiredOpen, requiredEnd)
	case hasRequired:
		for i, t := range r.pod.affinity.terms {
			path := termsPath + strconv.Itoa(i) + "/matchExpressions"
			switch {
			case t.empty || slices.Contains(t.modes, mode):
			case t.expressions:
				add(path+"/-", expressionOpen, expressionEnd)
			default:
				add(path, "["+expressionOpen, expressionEnd+"]")
			}
		}
	}
}
