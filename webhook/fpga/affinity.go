package fpga

import (
	"encoding/json"
	"slices"
	"strconv"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
	"github.com/inlay-project/inlay/webhook/jsonread"
)

// decode reads how much of a required node affinity there is.
func (a *affinity) decode(r *jsonread.Reader) error {
	const required = "requiredDuringSchedulingIgnoredDuringExecution"
	return a.deeper(r, "nodeAffinity", hasAffinity, func() error {
		return a.deeper(r, required, hasNodeAffinity, func() error {
			return a.deeper(r, "nodeSelectorTerms", hasRequired, func() error { return a.decodeTerms(r) })
		})
	})
}

// deeper reads one field of an object of that depth.
func (a *affinity) deeper(r *jsonread.Reader, field string, depth affinityDepth, read func() error) error {
	if r.Kind() == jsonread.Null {
		return r.Skip()
	}
	a.depth = depth
	seen := fields(0)
	return each(r, func(key []byte) error {
		if string(key) != field {
			return nil
		}
		return in(field, seen.once(0), read)
	})
}

func (a *affinity) decodeTerms(r *jsonread.Reader) error {
	_, err := all(r, func(int) error {
		t := selectorTerm{empty: true}
		seen := fields(0)
		err := each(r, func(key []byte) error {
			switch string(key) {
			case "matchExpressions":
				return in("matchExpressions", seen.once(0), func() (err error) {
					t.expressions, err = all(r, func(int) error {
						t.empty = false
						return t.decodeExpression(r)
					})
					return err
				})
			case "matchFields":
				return in("matchFields", seen.once(1), func() error {
					_, err := all(r, func(int) error {
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

func (t *selectorTerm) decodeExpression(r *jsonread.Reader) error {
	var key, operator, value []byte
	values := 0
	seen := fields(0)
	err := each(r, func(k []byte) error {
		switch string(k) {
		case "key":
			return in("key", seen.once(0), func() error { return text(r, &key) })
		case "operator":
			return in("operator", seen.once(1), func() error { return text(r, &operator) })
		case "values":
			return in("values", seen.once(2), func() error {
				_, err := all(r, func(int) error {
					values++
					return text(r, &value)
				})
				return err
			})
		}
		return nil
	})
	if err == nil && values == 1 && string(key) == v2.ModeLabel && string(operator) == "In" {
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
	if !r.options.ModeAffinity || r.check || !r.aliases || len(r.modes) != 1 {
		return
	}
	const (
		affinityPath = "/spec/affinity"
		nodePath     = affinityPath + "/nodeAffinity"
		requiredPath = nodePath + "/requiredDuringSchedulingIgnoredDuringExecution"
		termsPath    = requiredPath + "/nodeSelectorTerms/"
	)
	const (
		expressionOpen, expressionEnd = `{"key":"` + v2.ModeLabel + `","operator":"In","values":["`, `"]}`
		requiredOpen, requiredEnd     = `{"nodeSelectorTerms":[{"matchExpressions":[` + expressionOpen, expressionEnd + `]}]}`
		nodeOpen, nodeEnd             = `{"requiredDuringSchedulingIgnoredDuringExecution":` + requiredOpen, requiredEnd + `}`
		affinityOpen, affinityEnd     = `{"nodeAffinity":` + nodeOpen, nodeEnd + `}`
	)
	mode := r.modes[0]
	add := func(path, open, end string) {
		r.patch("add", path, json.RawMessage(r.options.Scratch.join(open, string(mode), end)))
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
