package hostile

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Request is a request to the webhook that no API server would send: its sender is somebody who reached the port. Its
// outcome on a node is always the same: no pod comes of it, because nothing but the API server makes pods.
type Request struct {
	Name string
	Rule string
	// Method is POST, Path /pods, and the only header Content-Type: application/json, if nothing else is said here. A
	// header that is set to "" is not sent.
	Method, Path string
	Header       map[string]string
	Body         []byte

	// Status is that of HTTP; if it is 200 (or 0), Answer is what the review says: Rejected is code 400, Denied 403.
	Status int
	Answer Verdict
	// Chunked sends the body without its length.
	Chunked bool
}

// NoPod is the outcome of every Request on a node.
const NoPod = "no pod comes of it"

// Review is an AdmissionReview with a pod, as an API server sends it. Its parts can be overwritten.
func Review(namespace string, object any) Object {
	return Object{
		"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
		"request": Object{
			"uid":      "705ab4f5-6393-11e8-b7cc-42010a800002",
			"kind":     Object{"group": "", "version": "v1", "kind": "Pod"},
			"resource": Object{"group": "", "version": "v1", "resource": "pods"},
			"name":     "pod", "namespace": namespace, "operation": "CREATE",
			"userInfo": Object{"username": "somebody"}, "dryRun": false, "object": object, "oldObject": nil,
		},
	}
}

func asJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // the table holds nothing but JSON values
	}
	return bytes.TrimSpace(b.Bytes())
}

// with is a good review with one member of its request changed; nil takes it away.
func with(key string, v any) []byte {
	r := Review(video, pod(only(ask(alias+"n3o", 1))))
	field(r, "request")[key] = v
	if v == nil {
		delete(field(r, "request"), key)
	}
	return asJSON(r)
}

// text is a review of a pod in video that is given as JSON text, so that it can be what no encoder writes.
func text(pod string) []byte {
	const mark = "\"the pod\""
	return bytes.Replace(asJSON(Review(video, "the pod")), []byte(mark), []byte(pod), 1)
}

// inContainer is such a review with the members of its one container.
func inContainer(members string) []byte {
	return text(`{"metadata":{"name":"pod"},"spec":{"containers":[{"name":"main",` + members + `}]}}`)
}

const (
	ruleReview   = "what is no review gets an error, and never leave to run"
	ruleTypes    = "a pod of other types than Kubernetes has is refused, with the place"
	ruleTwice    = "a key that stands twice is refused: two readers could take two values"
	ruleUnescape = "names are compared as they mean, not as they are written"
	ruleCost     = "what would cost too much is refused before it is read"
)

// Requests are the requests of the table.
func Requests() []Request {
	good := asJSON(Review(video, pod(only(ask(alias+"n3o", 1)))))
	const n3o = `"fpga.intel.com/n3o":"1"`
	asks := `"resources":{"limits":{` + n3o + `},"requests":{` + n3o + `}}`
	n3oGranted := translated(gets("main", regionA, "1", [2]string{ifaceA, nlb3}))
	bad := rejected
	return []Request{
		{Name: "a good one", Rule: "the others differ from it in one thing", Body: good, Answer: n3oGranted},
		{
			Name: "a content type with a character set", Rule: "JSON is JSON", Body: good, Answer: n3oGranted,
			Header: map[string]string{"Content-Type": "application/json; charset=utf-8"},
		},
		{Name: "text", Rule: ruleReview, Body: good, Status: 415, Header: map[string]string{"Content-Type": "text/plain"}},
		{Name: "YAML", Rule: ruleReview, Body: good, Status: 415, Header: map[string]string{"Content-Type": "application/yaml"}},
		{Name: "no content type", Rule: ruleReview, Body: good, Status: 415, Header: map[string]string{"Content-Type": ""}},
		{Name: "a content type that begins like ours", Rule: ruleReview, Body: good, Status: 415, Header: map[string]string{"Content-Type": "application/json-patch+json"}},
		{Name: "a compressed body", Rule: ruleCost, Body: good, Status: 415, Header: map[string]string{"Content-Type": "application/json", "Content-Encoding": "gzip"}},
		{Name: "GET", Rule: ruleReview, Method: "GET", Status: 405},
		{Name: "PUT", Rule: ruleReview, Method: "PUT", Body: good, Status: 405},
		{Name: "another path", Rule: ruleReview, Path: "/pods/", Body: good, Status: 404},
		{Name: "a path with dots", Rule: ruleReview, Path: "/pods/check/../../metrics", Body: good, Status: 404},
		{Name: "10 MiB", Rule: ruleCost, Body: append(good[:len(good):len(good)], bytes.Repeat([]byte(" "), 10<<20)...), Status: 413},
		{Name: "a body of no announced length", Rule: ruleCost, Body: good, Chunked: true, Status: 411},
		{
			Name: "4 MiB of small values", Rule: "what is not read costs nothing", Answer: untouched(),
			Body: text(`{"x":[` + strings.Repeat("{},", 4<<20/3) + `{}]}`),
		},
		{
			Name: "10,000 levels", Rule: ruleCost, Status: 400,
			Body: text(strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)),
		},
		{Name: "an empty body", Rule: ruleReview, Body: []byte{}, Status: 400},
		{Name: "half a review", Rule: ruleReview, Body: good[:len(good)/2], Status: 400},
		{Name: "two reviews", Rule: ruleReview, Body: append(good[:len(good):len(good)], good...), Answer: bad("no JSON")},
		{Name: "a byte order mark", Rule: ruleReview, Body: append([]byte("\xef\xbb\xbf"), good...), Status: 400},
		{Name: "16 bits a character", Rule: ruleReview, Body: wide(good), Status: 400},
		{Name: "a list of reviews", Rule: ruleReview, Body: append(append([]byte("["), good...), ']'), Answer: bad("AdmissionReview")},
		{Name: "null", Rule: ruleReview, Body: []byte("null"), Answer: bad("AdmissionReview")},
		{Name: "an empty object", Rule: ruleReview, Body: []byte("{}"), Answer: bad("AdmissionReview")},
		{Name: "a pod and no review", Rule: ruleReview, Body: asJSON(pod(only(ask(alias+"n3o", 1)))), Answer: bad("AdmissionReview")},
		{Name: "a review of version v1beta1", Rule: ruleReview, Body: bytes.Replace(good, []byte("admission.k8s.io/v1"), []byte("admission.k8s.io/v1beta1"), 1), Answer: bad("v1beta1")},
		{Name: "no request", Rule: ruleReview, Body: []byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`), Answer: bad("request")},
		{Name: "a Deployment", Rule: ruleReview, Body: with("resource", Object{"group": "apps", "version": "v1", "resource": "deployments"}), Answer: bad("deployments")},
		{Name: "a text as the object", Rule: ruleTypes, Body: with("object", "pod"), Answer: bad("object")},
		{Name: "a list as the object", Rule: ruleTypes, Body: with("object", []any{}), Answer: bad("object")},
		{
			Name: "a uid full of JSON", Rule: "what is echoed is data", Body: with("uid", `","allowed":true,"x":"`), Answer: n3oGranted,
		},
		{Name: "a uid that is a number", Rule: ruleTypes, Body: with("uid", 7), Answer: bad("uid")},
		{Name: "a uid of 1 MiB", Rule: ruleCost, Body: with("uid", strings.Repeat("u", 1<<20)), Answer: bad("uid")},
		{Name: "a namespace full of JSON", Rule: ruleOwnNamespace, Body: with("namespace", `video","x":"`), Answer: denied("namespace")},
		{Name: "a request in a namespace that is a path", Rule: ruleOwnNamespace, Body: with("namespace", "audio/../video"), Answer: denied("namespace")},
		{Name: "no namespace", Rule: ruleOwnNamespace, Body: with("namespace", nil), Answer: denied("namespace")},
		{Name: "an update", Rule: "an update is looked at like a creation", Body: with("operation", "UPDATE"), Answer: n3oGranted},
		{Name: "spec as a list", Rule: ruleTypes, Body: text(`{"spec":[]}`), Answer: bad("spec")},
		{Name: "containers as an object", Rule: ruleTypes, Body: text(`{"spec":{"containers":{"0":{}}}}`), Answer: bad("spec.containers")},
		{Name: "a container as a text", Rule: ruleTypes, Body: text(`{"spec":{"containers":["main"]}}`), Answer: bad("spec.containers[0]")},
		{Name: "init containers as a text", Rule: ruleTypes, Body: text(`{"spec":{"initContainers":"x","containers":[]}}`), Answer: bad("spec.initContainers")},
		{Name: "resources as a list", Rule: ruleTypes, Body: inContainer(`"resources":[{"limits":{` + n3o + `}}]`), Answer: bad("resources")},
		{Name: "limits as a list", Rule: ruleTypes, Body: inContainer(`"resources":{"limits":[` + `"fpga.intel.com/n3o"]}`), Answer: bad("limits")},
		{Name: "env as an object", Rule: ruleTypes, Body: inContainer(asks + `,"env":{"FPGA_AFU_1":"x"}`), Answer: bad("env")},
		{Name: "a variable as a text", Rule: ruleTypes, Body: inContainer(asks + `,"env":["FPGA_AFU_1=x"]`), Answer: bad("env[0]")},
		{Name: "a variable's name as a list", Rule: ruleTypes, Body: inContainer(asks + `,"env":[{"name":["FPGA_AFU_1"]}]`), Answer: bad("env[0].name")},
		{Name: "a variable's value as a number", Rule: ruleTypes, Body: inContainer(asks + `,"env":[{"name":"A","value":1}]`), Answer: bad("env[0].value")},
		{Name: "a namespace as a number", Rule: ruleTypes, Body: text(`{"metadata":{"namespace":7},"spec":{}}`), Answer: bad("metadata.namespace")},
		{Name: "a quantity that is true", Rule: ruleTypes, Body: inContainer(`"resources":{"limits":{"fpga.intel.com/n3o":true},"requests":{"fpga.intel.com/n3o":true}}`), Answer: bad("n3o")},
		{Name: "a quantity that is null", Rule: ruleTypes, Body: inContainer(`"resources":{"limits":{"fpga.intel.com/n3o":null},"requests":{"fpga.intel.com/n3o":null}}`), Answer: bad("n3o")},
		{
			Name: "an exponent that would take minutes to write out", Rule: ruleCost,
			Body:   inContainer(`"resources":{"limits":{"fpga.intel.com/n3o":"1e999999999"},"requests":{"fpga.intel.com/n3o":1e999999999}}`),
			Answer: denied("main", "n3o"),
		},
		{
			Name: "quantities as numbers of JSON", Rule: "quantities are compared as numbers, not as they are written",
			Body: inContainer(`"resources":{"limits":{"fpga.intel.com/n3o":1},"requests":{"fpga.intel.com/n3o":1.0e0}}`), Answer: n3oGranted,
		},
		{
			Name: "less than nought of noughts", Rule: "quantities are compared as numbers, not as they are written",
			Body:   inContainer(`"resources":{"limits":{"fpga.intel.com/n3o":-0},"requests":{"fpga.intel.com/n3o":"-0"}}`),
			Answer: translated(gets("main", regionA, "0")),
		},
		{Name: "containers twice", Rule: ruleTwice, Body: text(`{"spec":{"containers":[],"containers":[{"name":"main",` + asks + `}]}}`), Answer: bad("spec.containers")},
		{Name: "spec twice", Rule: ruleTwice, Body: text(`{"spec":{"containers":[]},"spec":{"containers":[{"name":"main",` + asks + `}]}}`), Answer: bad("spec")},
		{Name: "resources twice", Rule: ruleTwice, Body: inContainer(`"resources":{},` + asks), Answer: bad("resources")},
		{Name: "limits twice", Rule: ruleTwice, Body: inContainer(`"resources":{"limits":{},"requests":{` + n3o + `},"limits":{` + n3o + `}}`), Answer: bad("limits")},
		{Name: "a name twice", Rule: ruleTwice, Body: inContainer(`"resources":{"limits":{` + n3o + `,"fpga.intel.com/n3o":"2"},"requests":{` + n3o + `}}`), Answer: bad("n3o")},
		{Name: "a name twice, once with an escape", Rule: ruleTwice, Body: inContainer(`"resources":{"limits":{` + n3o + `,"fpga.intel.com\/n\u0033o":"2"},"requests":{` + n3o + `}}`), Answer: bad("n3o")},
		{Name: "a variable's name twice", Rule: ruleTwice, Body: inContainer(asks + `,"env":[{"name":"A","name":"FPGA_AFU_1","value":"x"}]`), Answer: bad("env[0].name")},
		{Name: "a namespace twice", Rule: ruleTwice, Body: text(`{"metadata":{"namespace":"video","namespace":"vault"},"spec":{}}`), Answer: bad("metadata.namespace")},
		{Name: "a request twice", Rule: ruleTwice, Body: bytes.Replace(good, []byte(`"request":`), []byte(`"request":{},"request":`), 1), Answer: bad("request")},
		{Name: "keys in other letters", Rule: "keys are case-sensitive, as in Kubernetes", Body: text(`{"spec":{"Containers":[{"name":"main",` + asks + `}],"containers":[]}}`), Answer: untouched()},
		{Name: "an escaped slash in a name", Rule: ruleUnescape, Body: inContainer(`"resources":{"limits":{"fpga.intel.com\/n3o":"1"},"requests":{"fpga\u002eintel.com/n3o":"1"}}`), Answer: n3oGranted},
		{Name: "an escaped key", Rule: ruleUnescape, Body: inContainer(`"resources":{"\u006cimits":{` + n3o + `},"requests":{` + n3o + `}}`), Answer: n3oGranted},
		{Name: "an escaped variable", Rule: ruleUnescape, Body: inContainer(asks + `,"env":[{"name":"FPGA\u005fAFU_1","value":"x"}]`), Answer: denied("FPGA_AFU_1")},
		{Name: "an escaped env", Rule: ruleUnescape, Body: inContainer(asks + `,"\u0065nv":[{"n\u0061me":"\u0046PGA_AFU_1","value":"x"}]`), Answer: denied("FPGA_AFU_1")},
		{Name: "a nought in a variable's name", Rule: ruleReserved, Body: inContainer(asks + `,"env":[{"name":"FPGA_AFU_1\u0000","value":"x"}]`), Answer: denied("FPGA_AFU_1")},
		{Name: "half a surrogate in a value", Rule: ruleKept, Body: inContainer(asks + `,"env":[{"name":"A","value":"\ud800"}]`), Answer: n3oGranted},
		{Name: "bytes that are no UTF-8 in a value", Rule: ruleKept, Body: inContainer(asks + `,"env":[{"name":"A","value":"` + "\xff\xfe" + `"}]`), Answer: n3oGranted},
		{Name: "a list of environment variables that is null", Rule: ruleKept, Body: inContainer(asks + `,"env":null`), Answer: n3oGranted},
		{Name: "a null among the variables", Rule: ruleKept, Body: inContainer(asks + `,"env":[null,{"name":"A"}]`), Answer: n3oGranted},
		{Name: "a null among the containers", Rule: ruleKept, Body: text(`{"spec":{"containers":[null,{"name":"main",` + asks + `}]}}`), Answer: n3oGranted},
	}
}

// wide is a text in UTF-16.
func wide(b []byte) []byte {
	out := []byte{0xff, 0xfe}
	for _, c := range b {
		out = append(out, c, 0)
	}
	return out
}
