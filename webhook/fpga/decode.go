package fpga

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
	"github.com/inlay-project/inlay/webhook/jsonread"
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
	r := jsonread.New(b)
	p, err := DecodePod(r)
	if err == nil {
		err = r.End()
	}
	if err != nil {
		var d *DecodeError
		if errors.As(err, &d) {
			return Pod{}, err
		}
		return Pod{}, fmt.Errorf("pod: %w", err)
	}
	return p, nil
}

// DecodePod reads what translation needs of a pod: the object of an AdmissionReview. It reads names as Kubernetes does,
// exactly and case-sensitively, and null as absent. A key that stands twice in an object that it reads is an error,
// because two readers could take two values from it; so is a value of another type than Kubernetes has there. What it
// does not read may be any JSON. The error is a *DecodeError, or a *jsonread.SyntaxError; the reader then stands
// somewhere within the pod.
func DecodePod(r *jsonread.Reader) (Pod, error) {
	if r.Kind() == jsonread.Null {
		return Pod{}, &DecodeError{Problem: "is null, not an object"}
	}
	var p Pod
	var generateName string
	seen := fields(0)
	err := each(r, func(key []byte) error {
		switch string(key) {
		case "kind":
			return in("kind", seen.once(0), func() error { return says(r, "Pod") })
		case "apiVersion":
			return in("apiVersion", seen.once(1), func() error { return says(r, "v1") })
		case "metadata":
			return in("metadata", seen.once(2), func() error { return p.metadata(r, &generateName) })
		case "spec":
			return in("spec", seen.once(3), func() error { return p.spec(r) })
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

// says refuses an object that says it is something else than a pod. One that does not say is taken for one.
func says(r *jsonread.Reader, want string) error {
	var got []byte
	if err := text(r, &got); err != nil || len(got) == 0 || string(got) == want {
		return err
	}
	return &DecodeError{Problem: "is " + Show(string(got)) + ", not " + want}
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

// typed makes errors of JSON ours, which get the path of the value; those of syntax know their place.
func typed(err error) error {
	if err == nil {
		return nil // before t, which is on the heap
	}
	var t *jsonread.TypeError
	if errors.As(err, &t) {
		return &DecodeError{Problem: t.Error()}
	}
	return err
}

// each visits the members of an object; null has none.
func each(r *jsonread.Reader, visit func(key []byte) error) error {
	if r.Kind() == jsonread.Null {
		return r.Skip()
	}
	return typed(r.Object(visit))
}

// all visits the elements of a list; null has none. There tells whether it is a list.
func all(r *jsonread.Reader, visit func(i int) error) (there bool, err error) {
	if r.Kind() == jsonread.Null {
		return false, r.Skip()
	}
	return true, typed(r.Array(func(i int) error {
		if err := visit(i); err != nil {
			return within("["+strconv.Itoa(i)+"]", err)
		}
		return nil
	}))
}

// text reads a string; null is the empty one. The bytes may be those of the document.
func text(r *jsonread.Reader, s *[]byte) (err error) {
	if r.Kind() == jsonread.Null {
		return r.Skip()
	}
	*s, err = r.Text()
	return typed(err)
}

func stringOf(r *jsonread.Reader, s *string) (err error) {
	if r.Kind() == jsonread.Null {
		return r.Skip()
	}
	*s, err = r.String()
	return typed(err)
}

func (p *Pod) metadata(r *jsonread.Reader, generateName *string) error {
	seen := fields(0)
	return each(r, func(key []byte) error {
		switch string(key) {
		case "name":
			return in("name", seen.once(0), func() error { return stringOf(r, &p.name) })
		case "generateName":
			return in("generateName", seen.once(1), func() error { return stringOf(r, generateName) })
		case "namespace":
			return in("namespace", seen.once(2), func() error { return stringOf(r, &p.namespace) })
		}
		return nil
	})
}

func (p *Pod) spec(r *jsonread.Reader) error {
	seen := fields(0)
	var inits []container
	err := each(r, func(key []byte) error {
		switch string(key) {
		case "initContainers":
			return in("initContainers", seen.once(0), func() (err error) {
				inits, err = decodeContainers(r, true)
				return err
			})
		case "containers":
			return in("containers", seen.once(1), func() (err error) {
				p.containers, err = decodeContainers(r, false)
				return err
			})
		case "resources":
			return in("resources", seen.once(2), func() error {
				var limits, requests []amount
				err := decodeResources(r, &limits, &requests)
				p.resources = append(limits, requests...)
				return err
			})
		case "affinity":
			return in("affinity", seen.once(3), func() error { return p.affinity.decode(r) })
		}
		return nil
	})
	if len(inits) > 0 {
		p.containers = append(inits, p.containers...)
	}
	return err
}

func decodeContainers(r *jsonread.Reader, init bool) ([]container, error) {
	var cs []container
	_, err := all(r, func(i int) error {
		cs = append(cs, container{init: init, index: i})
		return cs[i].decode(r)
	})
	return cs, err
}

func (c *container) decode(r *jsonread.Reader) error {
	seen := fields(0)
	return each(r, func(key []byte) error {
		switch string(key) {
		case "name":
			return in("name", seen.once(0), func() error { return stringOf(r, &c.name) })
		case "resources":
			return in("resources", seen.once(1), func() error { return decodeResources(r, &c.limits, &c.requests) })
		case "env":
			return in("env", seen.once(2), func() error {
				from := r.Mark()
				there, err := all(r, func(int) error { return c.decodeEnv(r) })
				if there {
					c.env = bytes.TrimSpace(r.Since(from))
				}
				return err
			})
		case "envFrom":
			return in("envFrom", seen.once(3), func() error {
				_, err := all(r, func(int) error { return c.decodeEnvFrom(r) })
				return err
			})
		case "restartPolicy":
			return in("restartPolicy", seen.once(4), func() error {
				var policy []byte
				err := text(r, &policy)
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

func (c *container) decodeEnv(r *jsonread.Reader) error {
	seen := fields(0)
	var name, value []byte
	plain := true
	err := each(r, func(key []byte) error {
		switch string(key) {
		case "name":
			return in("name", seen.once(0), func() error { return text(r, &name) })
		case "value":
			return in("value", seen.once(1), func() error { return text(r, &value) })
		case "valueFrom":
			plain = r.Kind() == jsonread.Null
			return in("valueFrom", seen.once(2), func() error { return nil })
		}
		return nil
	})
	if err == nil && isReserved(name) {
		c.reserved = append(c.reserved, variable{Variable{string(name), string(value)}, plain})
	}
	return err
}

func (c *container) decodeEnvFrom(r *jsonread.Reader) error {
	seen := fields(0)
	return each(r, func(key []byte) error {
		if string(key) != "prefix" {
			return nil
		}
		return in("prefix", seen.once(0), func() error {
			var prefix []byte
			err := text(r, &prefix)
			if isReserved(prefix) {
				c.prefixes = append(c.prefixes, string(prefix))
			}
			return err
		})
	})
}

func decodeResources(r *jsonread.Reader, limits, requests *[]amount) error {
	seen := fields(0)
	return each(r, func(key []byte) error {
		switch string(key) {
		case "limits":
			return in("limits", seen.once(0), func() (err error) {
				*limits, err = decodeAmounts(r)
				return err
			})
		case "requests":
			return in("requests", seen.once(1), func() (err error) {
				*requests, err = decodeAmounts(r)
				return err
			})
		}
		return nil
	})
}

// decodeAmounts reads the resources of our prefix and sorts them by name.
func decodeAmounts(r *jsonread.Reader) ([]amount, error) {
	var as []amount
	err := each(r, func(key []byte) error {
		if !bytes.HasPrefix(key, []byte(v2.Prefix)) {
			return nil
		}
		name := jsonread.Alias(key)
		var number []byte
		var err error
		switch r.Kind() {
		case jsonread.Text:
			number, err = r.Text()
		case jsonread.Number:
			number, err = r.Raw()
		default:
			return &DecodeError{"[" + Show(name) + "]", "is neither a string nor a number"}
		}
		as = append(as, amount{name, parseQuantity(string(number))})
		return err
	})
	if err != nil || len(as) < 2 {
		return as, err
	}
	slices.SortFunc(as, func(a, b amount) int { return strings.Compare(a.name, b.name) })
	for i := range as[1:] {
		if as[i].name == as[i+1].name {
			return nil, &DecodeError{"[" + Show(as[i].name) + "]", "stands there twice"}
		}
	}
	return as, nil
}
