package server

import (
	"errors"
	"fmt"

	"github.com/valyala/fastjson"
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

// question is a review's request: the members that are looked at. Its strings live as long as what was parsed.
type question struct {
	uid                      string
	group, version, resource string
	subResource              string
	namespace, operation     string
	object                   *fastjson.Value // nil = absent or null
	pod                      string          // its name, once it has been read
	warnings                 []string
}

// envelope takes the request out of a review. Where a name appears twice it is unclear which one others would believe,
// so it is refused. The question has the uid even if there is an error, if that much could be read.
func envelope(v *fastjson.Value) (q question, err error) {
	top, err := v.Object()
	if err != nil {
		return q, fmt.Errorf("the body is no AdmissionReview but %s", aType(v))
	}
	var apiVersion, kind, request *fastjson.Value
	twice := ""
	top.Visit(func(key []byte, v *fastjson.Value) {
		switch string(key) {
		case "apiVersion":
			once(&apiVersion, v, "apiVersion", &twice)
		case "kind":
			once(&kind, v, "kind", &twice)
		case "request":
			once(&request, v, "request", &twice)
		}
	})
	if request != nil && twice == "" {
		// First of all the uid: a refusal should carry it.
		if err := q.read(request); err != nil {
			return q, err
		}
	}
	if twice != "" {
		return q, fmt.Errorf("the body is no AdmissionReview: %s appears twice", twice)
	}
	if k, _ := text(kind, "kind"); k != reviewKind {
		return q, fmt.Errorf("the body is no AdmissionReview: kind is %.80q", k)
	}
	if a, _ := text(apiVersion, "apiVersion"); a != reviewVersion {
		return q, fmt.Errorf("the body is no AdmissionReview of %s: apiVersion is %.80q", reviewVersion, a)
	}
	if request == nil || request.Type() == fastjson.TypeNull {
		return q, errors.New("the AdmissionReview has no request")
	}
	return q, nil
}

// read takes what is needed out of the member request.
func (q *question) read(request *fastjson.Value) error {
	if request.Type() == fastjson.TypeNull {
		return nil
	}
	o, err := request.Object()
	if err != nil {
		return fmt.Errorf("request is %s, not an object", aType(request))
	}
	var uid, resource, subResource, namespace, operation *fastjson.Value
	twice := ""
	o.Visit(func(key []byte, v *fastjson.Value) {
		switch string(key) {
		case "uid":
			once(&uid, v, "uid", &twice)
		case "resource":
			once(&resource, v, "resource", &twice)
		case "subResource":
			once(&subResource, v, "subResource", &twice)
		case "namespace":
			once(&namespace, v, "namespace", &twice)
		case "operation":
			once(&operation, v, "operation", &twice)
		case "object":
			once(&q.object, v, "object", &twice)
		}
	})
	if q.uid, err = text(uid, "request.uid"); err != nil {
		return err
	}
	if len(q.uid) > maxUID {
		q.uid = ""
		return fmt.Errorf("request.uid is longer than %d bytes", maxUID)
	}
	if twice != "" {
		return fmt.Errorf("request.%s appears twice", twice)
	}
	if q.subResource, err = text(subResource, "request.subResource"); err != nil {
		return err
	}
	if q.namespace, err = text(namespace, "request.namespace"); err != nil {
		return err
	}
	if q.operation, err = text(operation, "request.operation"); err != nil {
		return err
	}
	if q.object != nil && q.object.Type() == fastjson.TypeNull {
		q.object = nil
	}
	return q.readResource(resource)
}

func (q *question) readResource(v *fastjson.Value) error {
	if v == nil || v.Type() == fastjson.TypeNull {
		return nil // the resource of no name is the wrong one
	}
	o, err := v.Object()
	if err != nil {
		return fmt.Errorf("request.resource is %s, not an object", aType(v))
	}
	var group, version, resource *fastjson.Value
	twice := ""
	o.Visit(func(key []byte, v *fastjson.Value) {
		switch string(key) {
		case "group":
			once(&group, v, "group", &twice)
		case "version":
			once(&version, v, "version", &twice)
		case "resource":
			once(&resource, v, "resource", &twice)
		}
	})
	if twice != "" {
		return fmt.Errorf("request.resource.%s appears twice", twice)
	}
	if q.group, err = text(group, "request.resource.group"); err != nil {
		return err
	}
	if q.version, err = text(version, "request.resource.version"); err != nil {
		return err
	}
	q.resource, err = text(resource, "request.resource.resource")
	return err
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

// otherKind says why an object that says what it is is no pod. One that does not say is what the request's resource is.
func otherKind(object *fastjson.Value) string {
	for _, m := range [...]struct{ name, want string }{{"kind", "Pod"}, {"apiVersion", "v1"}} {
		got, err := text(object.Get(m.name), "request.object."+m.name)
		if err != nil {
			return err.Error()
		}
		if got != "" && got != m.want {
			return fmt.Sprintf("request.object is no pod: its %s is %.80q", m.name, got)
		}
	}
	return ""
}

// once keeps a member's value, or the name of a member that has come before.
func once(into **fastjson.Value, v *fastjson.Value, name string, twice *string) {
	if *into != nil {
		*twice = name
		return
	}
	*into = v
}

// text gives a member that must be a string; absent and null are "".
func text(v *fastjson.Value, path string) (string, error) {
	if v == nil || v.Type() == fastjson.TypeNull {
		return "", nil
	}
	b, err := v.StringBytes()
	if err != nil {
		return "", fmt.Errorf("%s is %s, not a string", path, aType(v))
	}
	return asString(b), nil
}

// aType names a value's type with its article.
func aType(v *fastjson.Value) string {
	switch v.Type() {
	case fastjson.TypeObject:
		return "an object"
	case fastjson.TypeArray:
		return "an array"
	case fastjson.TypeString:
		return "a string"
	case fastjson.TypeNumber:
		return "a number"
	case fastjson.TypeNull:
		return "null"
	default:
		return "a boolean"
	}
}
