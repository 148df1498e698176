package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/inlay-project/inlay/webhook/fpga"
)

// Tables are the mappings.
type Tables interface {
	// Table gives the mappings of a namespace; nil = it has none.
	Table(namespace string) *fpga.Table
	// Missing says why the mappings are not known yet; nothing = they are.
	Missing() []string
}

// Decision is what an answer says, in one word.
type Decision string

// The decisions.
const (
	Allowed    Decision = "allowed"    // unchanged
	Translated Decision = "translated" // allowed, with a patch
	Denied     Decision = "denied"
	Malformed  Decision = "malformed" // it could not be read, and was not allowed
)

// Outcome tells what was answered, for logs and metrics.
type Outcome struct {
	Decision Decision
	// Code is that of the answer's status, as HTTP has them; 0 if the pod is allowed.
	Code int
	// NoReview says that what came is no AdmissionReview of admission.k8s.io/v1.
	NoReview bool
	// What was asked, as far as it was understood; filled if the pod was not allowed.
	UID, Namespace, Pod, Message string
}

// Review answers one AdmissionReview of a pod. With check it says whether the pod may be as it is, without it how it is
// to be changed. An error means that the body cannot be parsed; whatever else is wrong is in the answer.
func Review(body []byte, check bool, t Tables, o fpga.Options) (answer []byte, outcome Outcome, err error) {
	if len(body) > MaxBody {
		return nil, Outcome{Decision: Malformed}, errTooLarge
	}
	if parseCost(body) > maxParse {
		return nil, Outcome{Decision: Malformed}, errTooMuch
	}
	return (&reviewer{}).review(nil, body, check, t, o)
}

// reviewer is what one review needs; it can be used again.
type reviewer struct {
	parser fastjson.Parser
	spent  int64  // the cost of all that the parser has parsed
	uid    string // of the review; lives as long as what was parsed
}

// review appends the answer to dst, which may be the body's own memory: the parser has copied the body by then.
func (r *reviewer) review(dst, body []byte, check bool, t Tables, o fpga.Options) ([]byte, Outcome, error) {
	r.uid = ""
	if len(body) > smallBody && !json.Valid(body) {
		// fastjson's errors quote the rest of the body, once for each level.
		return nil, Outcome{Decision: Malformed}, errors.New("the body is no JSON")
	}
	v, err := r.parser.ParseBytes(body)
	if err != nil {
		return nil, Outcome{Decision: Malformed}, fmt.Errorf("the body is no JSON: %.200s", err)
	}
	q, err := envelope(v)
	r.uid = q.uid
	if err != nil {
		dst, outcome := refuse(dst, Malformed, codeMalformed, &q, err.Error())
		outcome.NoReview = true
		return dst, outcome, nil
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
	if q.subResource != "" {
		// None of them can give a container a resource or a variable that it did not have when it was created: resize
		// changes cpu and memory, ephemeral containers may have no resources, the others leave spec alone. Their
		// objects need not be pods either.
		return allow(dst, &q, nil, nil, nil), Outcome{Decision: Allowed}, nil
	}
	if q.object == nil {
		if q.operation == "DELETE" {
			return allow(dst, &q, nil, nil, nil), Outcome{Decision: Allowed}, nil
		}
		dst, outcome := refuse(dst, Malformed, codeMalformed, &q, "request.object is missing")
		return dst, outcome, nil
	}
	dst, outcome := r.pod(dst, &q, check, t, o)
	return dst, outcome, nil
}

// pod answers for the pod of a review. An UPDATE is looked at like a CREATE; the registration sends none.
func (r *reviewer) pod(dst []byte, q *question, check bool, t Tables, o fpga.Options) ([]byte, Outcome) {
	if q.object.Type() != fastjson.TypeObject {
		return refuse(dst, Malformed, codeMalformed, q, "request.object is "+aType(q.object)+", not an object")
	}
	if message := otherKind(q.object); message != "" {
		return refuse(dst, Malformed, codeMalformed, q, message)
	}
	pod, err := fpga.DecodePod(q.object)
	if err != nil {
		return refuse(dst, Malformed, codeMalformed, q, "request.object: "+err.Error())
	}
	q.pod = pod.Name()
	if own := pod.In(""); own != "" && q.namespace != "" && own != q.namespace {
		// The API server has put the one into the other by now. Whose mappings would count?
		return refuse(dst, Malformed, codeMalformed, q,
			fmt.Sprintf("the pod's namespace %.63q is not the request's, %.63q", own, q.namespace))
	}
	if missing := t.Missing(); len(missing) > 0 {
		return refuse(dst, Denied, codeNotReady, q, "inlay-webhook is not ready: "+strings.Join(missing, "; "))
	}
	namespace := pod.In(q.namespace)
	var v fpga.Verdict
	if check {
		v = fpga.Check(pod, q.namespace, t.Table(namespace))
	} else {
		v = fpga.Translate(pod, q.namespace, t.Table(namespace), o)
	}
	if v.Denied != "" {
		q.warnings = v.Warnings
		return refuse(dst, Denied, codeForbidden, q, v.Denied)
	}
	if len(v.Patch) == 0 {
		return allow(dst, q, nil, v.Warnings, v.Uses), Outcome{Decision: Allowed}
	}
	patch, err := v.MarshalPatch()
	if err != nil {
		return refuse(dst, Denied, codeMistake, q, "the patch cannot be written: "+err.Error())
	}
	return allow(dst, q, patch, v.Warnings, v.Uses), Outcome{Decision: Translated}
}
