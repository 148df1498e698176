package fpga

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/valyala/fastjson"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// DecodeError says what of a pod could not be read.
type DecodeError struct {
	Path    string // spec.containers[0].env; "" is the pod itself
	Problem string
}

func (e *DecodeError) Error() string {
	if e.Path == "" {
		return "pod " + e.Problem
	}
	return "pod: " + e.Path + " " + e.Problem
}

// ParsePod reads a pod from JSON.
func ParsePod(b []byte) (Pod, error) {
	var parser fastjson.Parser
	v, err := parser.ParseBytes(b)
	if err != nil {
		return Pod{}, fmt.Errorf("pod: %w", err)
	}
	return DecodePod(v)
}

// DecodePod reads what translation needs of a pod: the object of an AdmissionReview. It reads names as Kubernetes does,
// exactly and case-sensitively, and null as absent. A key that stands twice in an object that it reads is an error,
// because two readers could take two values from it; so is a value of another type than Kubernetes has there. What it
// does not read may be anything. The error is a *DecodeError.
func DecodePod(v *fastjson.Value) (Pod, error) {
	if v == nil || v.Type() != fastjson.TypeObject {
		return Pod{}, &DecodeError{Problem: "is not a JSON object"}
	}
	var p Pod
	var generateName string
	seen := fields(0)
	err := each(v, func(key []byte, v *fastjson.Value) error {
		switch string(key) {
		case "metadata":
			return in("metadata", seen.once(0), func() error { return p.metadata(v, &generateName) })
		case "spec":
			return in("spec", seen.once(1), func() error { return p.spec(v) })
		}
		return nil
	})
	if err != nil {
		return Pod{}, err
	}
	if p.name == "" {
		p.name = generateName
	}
	return p, nil
}

// fields remembers which keys of an object were read.
type fields uint

func (f *fields) once(bit int) bool {
	first := *f&(1<<bit) == 0
	*f |= 1 << bit
	return first
}

// in reads a field, and names it in the error.
func in(name string, first bool, read func() error) error {
	if !first {
		return &DecodeError{name, "stands there twice"}
	}
	return within(name, read())
}

// within puts the name of the outer object before an error's path.
func within(outer string, err error) error {
	if err == nil {
		return nil // before e, which is on the heap
	}
	var e *DecodeError
	if !errors.As(err, &e) {
		return err
	}
	if e.Path != "" && e.Path[0] != '[' {
		outer += "."
	}
	return &DecodeError{outer + e.Path, e.Problem}
}

// each visits the keys of an object; null has none.
func each(v *fastjson.Value, visit func(key []byte, v *fastjson.Value) error) error {
	switch v.Type() {
	case fastjson.TypeNull:
		return nil
	case fastjson.TypeObject:
	default:
		return &DecodeError{Problem: "is not an object"}
	}
	var err error
	v.GetObject().Visit(func(key []byte, v *fastjson.Value) {
		if err == nil {
			err = visit(key, v)
		}
	})
	return err
}

// all visits the elements of a list; null has none. There tells whether it is a list.
func all(v *fastjson.Value, visit func(i int, v *fastjson.Value) error) (there bool, err error) {
	switch v.Type() {
	case fastjson.TypeNull:
		return false, nil
	case fastjson.TypeArray:
	default:
		return false, &DecodeError{Problem: "is not a list"}
	}
	for i, v := range v.GetArray() {
		if err := visit(i, v); err != nil {
			return true, within("["+strconv.Itoa(i)+"]", err)
		}
	}
	return true, nil
}

// text reads a string; null is the empty one. The bytes are those of the document.
func text(v *fastjson.Value, s *[]byte) error {
	switch v.Type() {
	case fastjson.TypeNull:
	case fastjson.TypeString:
		*s = v.GetStringBytes()
	default:
		return &DecodeError{Problem: "is not a string"}
	}
	return nil
}

func stringOf(v *fastjson.Value, s *string) error {
	var b []byte
	err := text(v, &b)
	*s = string(b)
	return err
}

func (p *Pod) metadata(v *fastjson.Value, generateName *string) error {
	seen := fields(0)
	return each(v, func(key []byte, v *fastjson.Value) error {
		switch string(key) {
		case "name":
			return in("name", seen.once(0), func() error { return stringOf(v, &p.name) })
		case "generateName":
			return in("generateName", seen.once(1), func() error { return stringOf(v, generateName) })
		case "namespace":
			return in("namespace", seen.once(2), func() error { return stringOf(v, &p.namespace) })
		}
		return nil
	})
}

func (p *Pod) spec(v *fastjson.Value) error {
	seen := fields(0)
	var inits []container
	err := each(v, func(key []byte, v *fastjson.Value) error {
		switch string(key) {
		case "initContainers":
			return in("initContainers", seen.once(0), func() (err error) {
				inits, err = decodeContainers(v, true)
				return err
			})
		case "containers":
			return in("containers", seen.once(1), func() (err error) {
				p.containers, err = decodeContainers(v, false)
				return err
			})
		case "resources":
			return in("resources", seen.once(2), func() error {
				var limits, requests []amount
				err := decodeResources(v, &limits, &requests)
				p.resources = append(limits, requests...)
				return err
			})
		case "affinity":
			return in("affinity", seen.once(3), func() error { return p.affinity.decode(v) })
		}
		return nil
	})
	if len(inits) > 0 {
		p.containers = append(inits, p.containers...)
	}
	return err
}

func decodeContainers(v *fastjson.Value, init bool) ([]container, error) {
	var cs []container
	if v.Type() == fastjson.TypeArray {
		cs = make([]container, len(v.GetArray()))
	}
	_, err := all(v, func(i int, v *fastjson.Value) error {
		cs[i].init, cs[i].index = init, i
		return cs[i].decode(v)
	})
	return cs, err
}

func (c *container) decode(v *fastjson.Value) error {
	seen := fields(0)
	return each(v, func(key []byte, v *fastjson.Value) error {
		switch string(key) {
		case "name":
			return in("name", seen.once(0), func() error { return stringOf(v, &c.name) })
		case "resources":
			return in("resources", seen.once(1), func() error { return decodeResources(v, &c.limits, &c.requests) })
		case "env":
			return in("env", seen.once(2), func() (err error) {
				c.hasEnv, err = all(v, func(_ int, v *fastjson.Value) error { return c.decodeEnv(v) })
				return err
			})
		case "envFrom":
			return in("envFrom", seen.once(3), func() error {
				_, err := all(v, func(_ int, v *fastjson.Value) error { return c.decodeEnvFrom(v) })
				return err
			})
		case "restartPolicy":
			return in("restartPolicy", seen.once(4), func() error {
				var policy []byte
				err := text(v, &policy)
				c.sidecar = c.init && string(policy) == "Always"
				return err
			})
		}
		return nil
	})
}

func isReserved(name []byte) bool {
	return bytes.HasPrefix(name, []byte(regionVariables)) || bytes.HasPrefix(name, []byte(afuVariables))
}

func (c *container) decodeEnv(v *fastjson.Value) error {
	seen := fields(0)
	var name, value []byte
	plain := true
	err := each(v, func(key []byte, v *fastjson.Value) error {
		switch string(key) {
		case "name":
			return in("name", seen.once(0), func() error { return text(v, &name) })
		case "value":
			return in("value", seen.once(1), func() error { return text(v, &value) })
		case "valueFrom":
			plain = v.Type() == fastjson.TypeNull
			return in("valueFrom", seen.once(2), func() error { return nil })
		}
		return nil
	})
	if err == nil && isReserved(name) {
		c.reserved = append(c.reserved, variable{Variable{string(name), string(value)}, plain})
	}
	return err
}

func (c *container) decodeEnvFrom(v *fastjson.Value) error {
	seen := fields(0)
	return each(v, func(key []byte, v *fastjson.Value) error {
		if string(key) != "prefix" {
			return nil
		}
		return in("prefix", seen.once(0), func() error {
			var prefix []byte
			err := text(v, &prefix)
			if isReserved(prefix) {
				c.prefixes = append(c.prefixes, string(prefix))
			}
			return err
		})
	})
}

func decodeResources(v *fastjson.Value, limits, requests *[]amount) error {
	seen := fields(0)
	return each(v, func(key []byte, v *fastjson.Value) error {
		switch string(key) {
		case "limits":
			return in("limits", seen.once(0), func() (err error) {
				*limits, err = decodeAmounts(v)
				return err
			})
		case "requests":
			return in("requests", seen.once(1), func() (err error) {
				*requests, err = decodeAmounts(v)
				return err
			})
		}
		return nil
	})
}

// decodeAmounts reads the resources of our prefix and sorts them by name.
func decodeAmounts(v *fastjson.Value) ([]amount, error) {
	var as []amount
	err := each(v, func(key []byte, v *fastjson.Value) error {
		if !bytes.HasPrefix(key, []byte(v2.Prefix)) {
			return nil
		}
		name := string(key)
		switch v.Type() {
		case fastjson.TypeString:
			as = append(as, amount{name, parseQuantity(string(v.GetStringBytes()))})
		case fastjson.TypeNumber:
			as = append(as, amount{name, parseQuantity(string(v.MarshalTo(nil)))})
		default:
			return &DecodeError{"[" + show(name) + "]", "is neither a string nor a number"}
		}
		return nil
	})
	if err != nil || len(as) < 2 {
		return as, err
	}
	slices.SortFunc(as, func(a, b amount) int { return strings.Compare(a.name, b.name) })
	for i := range as[1:] {
		if as[i].name == as[i+1].name {
			return nil, &DecodeError{"[" + show(as[i].name) + "]", "stands there twice"}
		}
	}
	return as, nil
}
