package server

import (
	"errors"
	"fmt"

	"github.com/inlay-project/inlay/webhook/fpga"
	"github.com/inlay-project/inlay/webhook/jsonread"
)

// Limits of what is echoed or logged, in bytes. A uid has 36 characters; the longest name that Kubernetes allows is 253.
const (
	maxUID  = 256
	maxName = 253
)

// What is reviewed.
const (
	reviewVersion = "admission.k8s.io/v1"
	reviewKind    = "AdmissionReview"
)

// question is a review's request: the members that are looked at. It lives as long as the body.
type question struct {
	uid                      string
	group, version, resource string
	subResource              string
	namespace, operation     string

	hasPod bool // there is an object, and it is not null
	pod    fpga.Pod
	podErr error // why the object is no pod

	warnings []string
}

// notReviewError says that what came is no AdmissionReview that could be answered.
type notReviewError struct{ text string }

func (e notReviewError) Error() string { return e.text }

// members remembers which members of an object were read. Where a name appears twice it is unclear which one others would
// believe, so it is refused.
type members uint

func (m *members) once(bit int, path string) error {
	if *m&(1<<bit) != 0 {
		return notReviewError{path + " appears twice"}
	}
	*m |= 1 << bit
	return nil
}

// envelope reads a review, in one go from its first byte to its last. The question has what was read even if there is
// an error: a refusal should carry the uid.
func envelope(r *jsonread.Reader, q *question) error {
	if k := r.Kind(); k != jsonread.Object && k != jsonread.End {
		return first(r.Skip(), r.End(), notReviewError{"the body is no AdmissionReview but " + k.String()})
	}
	var apiVersion, kind string
	var wrong error // with what was said, not with how: the rest is still read
	hasRequest := false
	seen := members(0)
	err := r.Object(func(key []byte) error {
		const none = "the body is no AdmissionReview: "
		switch string(key) {
		case "apiVersion":
			return seen.read(r, 0, none+"apiVersion", &wrong, func() error { return stringMember(r, "apiVersion", &apiVersion) })
		case "kind":
			return seen.read(r, 1, none+"kind", &wrong, func() error { return stringMember(r, "kind", &kind) })
		case "request":
			return seen.read(r, 2, none+"request", &wrong, func() error { return q.read(r, &hasRequest) })
		}
		return nil
	})
	if err == nil {
		err = r.End()
	}
	switch {
	case err != nil:
		return err
	case wrong != nil:
		return wrong
	case kind != reviewKind:
		return notReviewError{fmt.Sprintf("the body is no AdmissionReview: kind is %.80q", kind)}
	case apiVersion != reviewVersion:
		return notReviewError{fmt.Sprintf("the body is no AdmissionReview of %s: apiVersion is %.80q", reviewVersion, apiVersion)}
	case !hasRequest:
		return notReviewError{"the AdmissionReview has no request"}
	}
	return nil
}

// read reads a member that has not been read before. One that is JSON and not what is expected there is noted and passed
// over, so that the rest can still be read; the first such one counts.
func (m *members) read(r *jsonread.Reader, bit int, path string, wrong *error, read func() error) error {
	mark := r.Mark()
	err := m.once(bit, path)
	if err == nil {
		err = read()
	}
	if err == nil {
		return nil // before refused, which is on the heap
	}
	var refused notReviewError
	if !errors.As(err, &refused) {
		return err
	}
	if *wrong == nil {
		*wrong = refused
	}
	r.Back(mark)
	return nil
}

// read takes what is needed out of the member request.
func (q *question) read(r *jsonread.Reader, there *bool) error {
	if r.Kind() == jsonread.Null {
		return nil
	}
	*there = true
	seen := members(0)
	var wrong error
	text := func(bit int, path string, into *string) error {
		return seen.read(r, bit, path, &wrong, func() error { return stringMember(r, path, into) })
	}
	err := object(r, "request", func(key []byte) error {
		switch string(key) {
		case "uid":
			return text(0, "request.uid", &q.uid)
		case "subResource":
			return text(1, "request.subResource", &q.subResource)
		case "namespace":
			return text(2, "request.namespace", &q.namespace)
		case "operation":
			return text(3, "request.operation", &q.operation)
		case "resource":
			return seen.read(r, 4, "request.resource", &wrong, func() error { return q.readResource(r) })
		case "object":
			return seen.read(r, 5, "request.object", &wrong, func() error { return q.readObject(r) })
		}
		return nil
	})
	long := len(q.uid) > maxUID
	if long {
		q.uid = ""
	}
	switch {
	case err != nil:
		return err
	case long:
		return notReviewError{fmt.Sprintf("request.uid is longer than %d bytes", maxUID)}
	}
	return wrong
}

// readObject reads the pod as far as it is one; whether that matters is decided when the whole request is known.
func (q *question) readObject(r *jsonread.Reader) error {
	if r.Kind() == jsonread.Null {
		return nil
	}
	q.hasPod = true
	mark := r.Mark()
	if q.pod, q.podErr = fpga.DecodePod(r); q.podErr == nil {
		return nil // before notPod, which is on the heap
	}
	var notPod *fpga.DecodeError
	if errors.As(q.podErr, &notPod) {
		r.Back(mark) // the rest of it is skipped
		return nil
	}
	return q.podErr
}

func (q *question) readResource(r *jsonread.Reader) error {
	if r.Kind() == jsonread.Null {
		return nil // the resource of no name is the wrong one
	}
	seen := members(0)
	return object(r, "request.resource", func(key []byte) error {
		switch string(key) {
		case "group":
			return first(seen.once(0, "request.resource.group"), stringMember(r, "request.resource.group", &q.group))
		case "version":
			return first(seen.once(1, "request.resource.version"), stringMember(r, "request.resource.version", &q.version))
		case "resource":
			return first(seen.once(2, "request.resource.resource"), stringMember(r, "request.resource.resource", &q.resource))
		}
		return nil
	})
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// wrongResource says why a review of another resource than pods is not answered: a registration sends what we would
// let through unseen.
func (q *question) wrongResource() string {
	if q.group == "" && q.version == "v1" && q.resource == "pods" {
		return ""
	}
	return fmt.Sprintf(`request.resource is %.80q of group %.80q, version %.80q; only pods of the group "", version v1 are reviewed`,
		q.resource, q.group, q.version)
}

// object reads a member that must be an object.
func object(r *jsonread.Reader, path string, visit func(key []byte) error) error {
	return expected(r.Object(visit), path)
}

// stringMember reads a member that must be a string; null is "". The text is the body's own where that is possible.
func stringMember(r *jsonread.Reader, path string, into *string) error {
	if r.Kind() == jsonread.Null {
		return nil
	}
	var err error
	*into, err = r.String()
	return expected(err, path)
}

// expected names the member that is of another type.
func expected(err error, path string) error {
	if err == nil {
		return nil // before t, which is on the heap
	}
	var t *jsonread.TypeError
	if errors.As(err, &t) {
		return notReviewError{path + " " + t.Error()}
	}
	return err
}
