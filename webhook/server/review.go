package server

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/inlay-project/inlay/webhook/fpga"
	"github.com/inlay-project/inlay/webhook/jsonread"
)

// Tables are the mappings.
type Tables interface {
	// Table gives the mappings of a namespace; nil = it has none.
	Table(namespace string) *fpga.Table
	// Missing says why the mappings are not known yet; nothing = they are.
	Missing() []string
}

// Finder asks for mappings that the tables may not have yet, because news of them is on its way.
type Finder interface {
	// Find gives those of the sought mappings that a namespace has; none unless it has all of them. It takes a second at
	// most, ends with ctx, and may know without asking that there are none.
	Find(ctx context.Context, namespace string, sought []fpga.Sought) []fpga.Entry
}

// Defaulter is implemented by Tables that know no API server, which would have filled in every pod's namespace.
type Defaulter interface {
	// DefaultNamespace is that of a pod where neither it nor its request names one.
	DefaultNamespace() string
}

// sources are where a review has its mappings from.
type sources struct {
	Tables
	finder           Finder // nil = what the tables do not have is not there
	defaultNamespace string // "" = an API server fills it in
}

// Decision is what an answer says, in one word.
type Decision string

// The decisions.
const (
	Allowed    Decision = "allowed"    // unchanged
	Translated Decision = "translated" // allowed, with a patch
	Denied     Decision = "denied"
	Malformed  Decision = "malformed" // it could not be read, and was not allowed
	Unready    Decision = "unready"   // not allowed, because the mappings are not known yet
	Busy       Decision = "busy"      // not read: too many at a time
)

// Outcome tells what was answered, for logs and metrics.
type Outcome struct {
	Decision Decision
	// Code is that of the answer's status, as HTTP has them; 0 if the pod is allowed.
	Code int
	// NoReview says that what came is no AdmissionReview of admission.k8s.io/v1, or no JSON behind its uid.
	NoReview bool
	// Unmapped says that the pod was denied for want of mappings alone.
	Unmapped bool
	// What was asked, as far as it was understood; filled if the pod was not allowed. The namespace is the one whose
	// mappings were looked at, if any were.
	UID, Namespace, Pod, Message string
}

// Review answers one AdmissionReview of a pod. With check it says whether the pod may be as it is, without it how it is
// to be changed. An error means that the body is no JSON and not even its uid could be read; whatever else is wrong is
// in the answer.
func Review(body []byte, check bool, t Tables, o fpga.Options) (answer []byte, outcome Outcome, err error) {
	if len(body) > MaxBody {
		return nil, Outcome{Decision: Malformed}, errTooLarge
	}
	from := sources{Tables: t}
	if d, ok := t.(Defaulter); ok {
		from.defaultNamespace = d.DefaultNamespace()
	}
	return (&reviewer{}).review(context.Background(), nil, body, check, from, o)
}

// reviewer is what one review needs; it can be used again.
type reviewer struct {
	json    jsonread.Reader
	patch   []byte // memory for the next one
	scratch fpga.Scratch
	uid     string // of the review; lives as long as the body
}

// review appends the answer to dst.
func (r *reviewer) review(ctx context.Context, dst, body []byte, check bool, from sources, o fpga.Options) ([]byte, Outcome, error) {
	var q question
	r.uid = ""
	r.json.Reset(body)
	err := envelope(&r.json, &q)
	r.uid = q.uid
	if err != nil {
		return unreadable(dst, &q, err)
	}
	if len(q.namespace) > maxName {
		q.namespace = ""
		dst, outcome := refuse(dst, Malformed, codeMalformed, &q, "request.namespace is longer than any namespace's name")
		return dst, outcome, nil
	}
	if message := q.wrongResource(); message != "" {
		dst, outcome := refuse(dst, Malformed, codeMalformed, &q, message)
		return dst, outcome, nil
	}
	if q.subResource != "" || !q.hasPod {
		// No subresource can give a container a resource or a variable that it did not have when it was created: resize
		// changes cpu and memory, ephemeral containers may have no resources, the others leave spec alone. Their
		// objects need not be pods either. And where there is no object, there is nothing to give.
		return allow(dst, &q, nil, nil, nil), Outcome{Decision: Allowed}, nil
	}
	if q.podErr != nil {
		dst, outcome := refuse(dst, Malformed, codeMalformed, &q, "request.object: "+q.podErr.Error())
		return dst, outcome, nil //nolint:nilerr // the answer has it
	}
	dst, outcome := r.judge(ctx, dst, &q, check, from, o)
	return dst, outcome, nil
}

// unreadable answers what is no review.
func unreadable(dst []byte, q *question, err error) ([]byte, Outcome, error) {
	var notReview notReviewError
	switch {
	case errors.As(err, &notReview):
		dst, outcome := refuse(dst, Malformed, codeMalformed, q, notReview.Error())
		outcome.NoReview = true
		return dst, outcome, nil
	case q.uid != "":
		dst, outcome := refuse(dst, Malformed, codeMalformed, q, "the body is "+err.Error())
		outcome.NoReview = true
		return dst, outcome, nil
	}
	return nil, Outcome{Decision: Malformed}, fmt.Errorf("the body is %w", err)
}

// judge answers for the pod. An UPDATE is looked at like a CREATE; the registration sends none.
func (r *reviewer) judge(ctx context.Context, dst []byte, q *question, check bool, from sources, o fpga.Options) ([]byte, Outcome) {
	own := q.pod.In("")
	if own != "" && q.namespace != "" && own != q.namespace {
		// The API server has put the one into the other by now. Whose mappings would count?
		return refuse(dst, Malformed, codeMalformed, q,
			fmt.Sprintf("the pod's namespace %.63q is not the request's, %.63q", own, q.namespace))
	}
	if own == "" && q.namespace == "" {
		q.namespace = from.defaultNamespace
	}
	if missing := from.Missing(); len(missing) > 0 {
		return refuse(dst, Unready, codeNotReady, q, "inlay-webhook is not ready: "+strings.Join(missing, "; "))
	}
	q.namespace = q.pod.In(q.namespace) // whose mappings count, and are told of
	table := from.Table(q.namespace)
	v := r.verdict(q, check, table, o)
	if len(v.Sought) > 0 && from.finder != nil {
		// A mapping and a pod come in one `kubectl apply`, and the pod may be here before the news of the mapping. What was
		// found is true, and what has come meanwhile is too.
		found := from.finder.Find(ctx, q.namespace, v.Sought)
		if now := from.Table(q.namespace).With(found); now != table {
			v = r.verdict(q, check, now, o)
		}
	}
	if v.Denied != "" {
		q.warnings = v.Warnings
		dst, outcome := refuse(dst, Denied, codeForbidden, q, v.Denied)
		outcome.Unmapped = len(v.Sought) > 0
		return dst, outcome
	}
	if len(v.Patch) == 0 {
		return allow(dst, q, nil, v.Warnings, v.Uses), Outcome{Decision: Allowed}
	}
	patch, err := v.AppendPatch(r.patch[:0])
	if cap(patch) <= smallBody {
		r.patch = patch
	}
	if err != nil {
		return refuse(dst, Denied, codeMistake, q, "the patch cannot be written: "+err.Error())
	}
	return allow(dst, q, patch, v.Warnings, v.Uses), Outcome{Decision: Translated}
}

// verdict is what the mappings of a table make of the pod.
func (r *reviewer) verdict(q *question, check bool, table *fpga.Table, o fpga.Options) fpga.Verdict {
	if check {
		return fpga.Check(q.pod, q.namespace, table)
	}
	o.Scratch = &r.scratch
	v := fpga.Translate(q.pod, q.namespace, table, o)
	if r.scratch.Size() > smallBody {
		r.scratch = fpga.Scratch{}
	}
	return v
}
