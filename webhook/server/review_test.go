package server

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
	"github.com/inlay-project/inlay/webhook/fpga"
	"github.com/inlay-project/inlay/webhook/jsonread"
)

// The ids of the specification's samples.
const (
	iface  = "69528db6eb31577a8c3668f9faa081f6"
	nlb0   = "d8424dc4a4a3c413f89e433683f9040b"
	nlb3   = "f7df405cbd7acf7222f144b0b93acd18"
	region = "fpga.intel.com/region-" + iface
)

// tables are mappings by namespace.
type tables struct {
	of      map[string]*fpga.Table
	missing []string
}

func (t tables) Table(namespace string) *fpga.Table { return t.of[namespace] }
func (t tables) Missing() []string                  { return t.missing }

// ns1 has the mappings of the specification's samples.
func ns1() tables {
	var entries []fpga.Entry
	for _, m := range [][3]string{{"n3o", "region", nlb3}, {"n0o", "region", nlb0}, {"n0p", "af", nlb0}} {
		entries = append(entries, fpga.EntryOf(&v2.AcceleratorFunction{
			ObjectMeta: metav1.ObjectMeta{Name: m[0], Namespace: "ns1"},
			Spec:       v2.AcceleratorFunctionSpec{Mode: m[1], InterfaceID: iface, AfuID: m[2]},
		}))
	}
	entries = append(entries, fpga.EntryOf(&v2.FpgaRegion{
		ObjectMeta: metav1.ObjectMeta{Name: "a10", Namespace: "ns1"}, Spec: v2.FpgaRegionSpec{InterfaceID: iface},
	}))
	return tables{of: map[string]*fpga.Table{"ns1": fpga.NewTable(entries)}}
}

const uid = "705ab4f5-6393-11e8-b7cc-42010a800002"

// reviewOf is a review of an object, in the words of an API server.
func reviewOf(object string) string {
	return `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"` + uid + `",` +
		`"kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},` +
		`"requestKind":{"group":"","version":"v1","kind":"Pod"},"requestResource":{"group":"","version":"v1","resource":"pods"},` +
		`"namespace":"ns1","operation":"CREATE","userInfo":{"username":"alice","groups":["system:authenticated"]},` +
		`"object":` + object + `,"oldObject":null,"dryRun":false,"options":{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"}}}`
}

// podOf is a pod whose container asks for what these name, one unit each.
func podOf(resources ...string) string {
	var asks []string
	for _, r := range resources {
		asks = append(asks, fmt.Sprintf(`"fpga.intel.com/%s":"1"`, r))
	}
	list := strings.Join(asks, ",")
	return `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"ns1"},"spec":{"containers":[{"name":"c","resources":` +
		`{"limits":{` + list + `},"requests":{` + list + `}}}]}}`
}

// usual is what an API server sends for a pod that kubectl made, of some 3 KB.
func usual() string {
	object := `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"worker-7d9f8c6b5-x2x7k","generateName":"worker-7d9f8c6b5-","namespace":"ns1",` +
		`"creationTimestamp":null,"labels":{"app":"worker","pod-template-hash":"7d9f8c6b5"},"annotations":{"prometheus.io/scrape":"true","prometheus.io/port":"9100"},` +
		`"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"worker-7d9f8c6b5","uid":"3a0b2d2e-2f3e-4c07-9a37-3f9d6a3ad6a8","controller":true,"blockOwnerDeletion":true}],` +
		`"managedFields":[{"manager":"kube-controller-manager","operation":"Update","apiVersion":"v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1",` +
		`"fieldsV1":{"f:metadata":{"f:generateName":{},"f:labels":{".":{},"f:app":{},"f:pod-template-hash":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\"3a0b2d2e-2f3e-4c07-9a37-3f9d6a3ad6a8\"}":{}}},` +
		`"f:spec":{"f:containers":{"k:{\"name\":\"worker\"}":{".":{},"f:env":{},"f:image":{},"f:imagePullPolicy":{},"f:name":{},"f:resources":{}}},"f:dnsPolicy":{},"f:restartPolicy":{}}}}]},` +
		`"spec":{"volumes":[{"name":"kube-api-access-4x7vm","projected":{"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},` +
		`{"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}},{"downwardAPI":{"items":[{"path":"namespace","fieldRef":{"apiVersion":"v1","fieldPath":"metadata.namespace"}}]}}],"defaultMode":420}}],` +
		`"containers":[{"name":"worker","image":"registry.example.com/team/worker:1.4.2","args":["--listen=:8080","--workers=4"],"env":[{"name":"LOG_LEVEL","value":"info"},{"name":"POD_NAME","valueFrom":{"fieldRef":{"apiVersion":"v1","fieldPath":"metadata.name"}}}],` +
		`"resources":{"limits":{"cpu":"2","memory":"2Gi","fpga.intel.com/n3o":"1"},"requests":{"cpu":"1","memory":"1Gi","fpga.intel.com/n3o":"1"}},` +
		`"volumeMounts":[{"name":"kube-api-access-4x7vm","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}],"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}],` +
		`"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"default","serviceAccount":"default","securityContext":{},"schedulerName":"default-scheduler",` +
		`"tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300},{"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}],"priority":0,"enableServiceLinks":true,"preemptionPolicy":"PreemptLowerPriority"},"status":{}}`
	return reviewOf(object)
}

// parse reads an answer as the API server does.
func parse(t testing.TB, answer []byte) *admissionv1.AdmissionResponse {
	t.Helper()
	var r admissionv1.AdmissionReview
	if err := json.Unmarshal(answer, &r); err != nil {
		t.Fatalf("answer %s: %v", answer, err)
	}
	if r.Kind != reviewKind || r.APIVersion != reviewVersion || r.Response == nil || r.Request != nil {
		t.Fatalf("answer %s", answer)
	}
	return r.Response
}

func TestAPodIsTranslatedAndTheCheckWantsNothingMore(t *testing.T) {
	object := podOf("n3o", "n0o")
	answer, outcome, err := Review([]byte(reviewOf(object)), false, ns1(), fpga.Options{})
	if err != nil || outcome.Decision != Translated || outcome.Code != 0 {
		t.Fatalf("%s, %+v, %v", answer, outcome, err)
	}
	got := parse(t, answer)
	if !got.Allowed || string(got.UID) != uid || got.PatchType == nil || *got.PatchType != admissionv1.PatchTypeJSONPatch {
		t.Errorf("answer %s", answer)
	}
	want := map[string]string{auditKey: "c: fpga.intel.com/n0o -> AcceleratorFunction/n0o -> " + region +
		"; c: fpga.intel.com/n3o -> AcceleratorFunction/n3o -> " + region}
	if diff := cmp.Diff(want, got.AuditAnnotations); diff != "" {
		t.Errorf("audit annotations (-want +got):\n%s", diff)
	}
	patch, err := jsonpatch.DecodePatch(got.Patch)
	if err != nil {
		t.Fatalf("patch %s: %v", got.Patch, err)
	}
	patched, err := patch.Apply([]byte(object))
	if err != nil {
		t.Fatalf("patch %s: %v", got.Patch, err)
	}
	for _, text := range []string{`"` + region + `":"2"`, `"FPGA_AFU_2"`} {
		if !strings.Contains(string(patched), text) {
			t.Errorf("no %s in %s", text, patched)
		}
	}
	answer, outcome, err = Review([]byte(reviewOf(object)), true, ns1(), fpga.Options{})
	if r := parse(t, answer); err != nil || r.Allowed || outcome.Decision != Denied || len(r.Patch) != 0 {
		t.Errorf("check of the pod as it came: %s, %v", answer, err)
	}
	answer, outcome, err = Review([]byte(reviewOf(string(patched))), true, ns1(), fpga.Options{})
	if r := parse(t, answer); err != nil || !r.Allowed || outcome.Decision != Allowed || len(r.Patch) != 0 {
		t.Errorf("check of the pod as it went: %s, %v", answer, err)
	}
}

func TestWhatIsAnswered(t *testing.T) {
	edit := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(reviewOf(podOf("n3o"))) }
	pods := `"resource":{"group":"","version":"v1","resource":"pods"}`
	late := ns1()
	late.missing = []string{"FpgaRegions are not synchronised yet"}
	for _, tt := range []struct {
		name, body string
		tables     Tables
		decision   Decision
		code       int32
		message    string
	}{
		{"empty pod", reviewOf(`{}`), nil, Allowed, 0, ""},
		{"pod that asks for nothing", reviewOf(`{"spec":{"containers":[{"name":"c"}]}}`), nil, Allowed, 0, ""},
		{"UPDATE like CREATE", edit("CREATE", "UPDATE"), nil, Translated, 0, ""},
		{"operation left out", edit(`"operation":"CREATE",`, ""), nil, Translated, 0, ""},
		{"DELETE has no object", strings.Replace(reviewOf("null"), "CREATE", "DELETE", 1), nil, Allowed, 0, ""},
		{"DELETE whose object is left out", strings.NewReplacer("CREATE", "DELETE", `"object":{},`, "").Replace(reviewOf("{}")), nil, Allowed, 0, ""},
		{"DELETE with an object", edit("CREATE", "DELETE", "n3o", "none"), nil, Denied, 403, "none"},
		{"CREATE without an object", reviewOf("null"), nil, Allowed, 0, ""},
		{"UPDATE without an object", strings.Replace(reviewOf("null"), "CREATE", "UPDATE", 1), nil, Allowed, 0, ""},
		{"ephemeral containers", edit(pods, pods+`,"subResource":"ephemeralcontainers"`), nil, Allowed, 0, ""},
		{"resize", edit(pods, pods+`,"subResource":"resize"`), nil, Allowed, 0, ""},
		{"exec, whose object is no pod", strings.Replace(reviewOf(`{"kind":"PodExecOptions"}`), pods, pods+`,"subResource":"exec"`, 1), nil, Allowed, 0, ""},
		{"namespace of the request", edit(`,"namespace":"ns1"}`, "}"), nil, Translated, 0, ""},
		{"namespace of the pod", edit(`"namespace":"ns1","operation"`, `"operation"`), nil, Translated, 0, ""},
		{"two namespaces", edit(`"namespace":"ns1","operation"`, `"namespace":"ns2","operation"`), nil, Malformed, 400, `"ns1" is not the request's, "ns2"`},
		{"no namespace at all", edit(`"namespace":"ns1","operation"`, `"operation"`, `,"namespace":"ns1"}`, "}"), nil, Denied, 403, "n3o"},
		{"namespace without mappings", edit("ns1", "ns2"), nil, Denied, 403, "ns2"},
		{"name that is not mapped", reviewOf(podOf("other")), nil, Denied, 403, "no AcceleratorFunction or FpgaRegion named other"},
		{"mappings are not known", reviewOf(podOf("n3o")), late, Unready, 503, "FpgaRegions are not synchronised yet"},
		{"not even for other pods", reviewOf(`{}`), late, Unready, 503, "not ready"},
		{"another resource", edit(`"resource":"pods"}`, `"resource":"deployments"}`), nil, Malformed, 400, `"deployments"`},
		{"another group", edit(pods, `"resource":{"group":"apps","version":"v1","resource":"pods"}`), nil, Malformed, 400, `"apps"`},
		{"another version", edit(pods, `"resource":{"group":"","version":"v2","resource":"pods"}`), nil, Malformed, 400, `"v2"`},
		{"no resource", edit(pods+",", ""), nil, Malformed, 400, "only pods"},
		{"resource as text", edit(pods, `"resource":"pods"`), nil, Malformed, 400, "request.resource is a string"},
		{"resource with a number", edit(pods, `"resource":{"group":1,"version":"v1","resource":"pods"}`), nil, Malformed, 400, "request.resource.group is a number"},
		{"resource with a name twice", edit(pods, `"resource":{"group":"apps","group":"","version":"v1","resource":"pods"}`), nil, Malformed, 400, "request.resource.group appears twice"},
		{"object is text", reviewOf(`"pod"`), nil, Malformed, 400, "request.object: pod is a string"},
		{"object is a list", reviewOf(`[{}]`), nil, Malformed, 400, "request.object: pod is an array"},
		{"object is a number", reviewOf(`1`), nil, Malformed, 400, "a number"},
		{"object is true", reviewOf(`true`), nil, Malformed, 400, "a boolean"},
		{"object of another kind", reviewOf(`{"kind":"Deployment","apiVersion":"apps/v1"}`), nil, Malformed, 400, "kind is Deployment, not Pod"},
		{"object of another version", reviewOf(`{"kind":"Pod","apiVersion":"v2"}`), nil, Malformed, 400, "apiVersion is v2, not v1"},
		{"containers are text", reviewOf(`{"spec":{"containers":"all"}}`), nil, Malformed, 400, "spec.containers"},
		{"object twice", edit(`"oldObject":null`, `"object":{}`), nil, Malformed, 400, "request.object appears twice"},
		{"object twice, once in disguise", edit(`"oldObject":null`, `"\u006fbject":{}`), nil, Malformed, 400, "request.object appears twice"},
		{"namespace twice", edit(`"operation"`, `"namespace":"ns2","operation"`), nil, Malformed, 400, "request.namespace appears twice"},
		{"operation twice", edit(`"oldObject"`, `"operation":"DELETE","oldObject"`), nil, Malformed, 400, "request.operation appears twice"},
		{"uid twice", edit(`"oldObject"`, `"uid":"x","oldObject"`), nil, Malformed, 400, "request.uid appears twice"},
		{"subresource twice", edit(`"oldObject"`, `"subResource":"","subResource":"exec","oldObject"`), nil, Malformed, 400, "appears twice"},
		{"subresource is a number", edit(`"oldObject"`, `"subResource":1,"oldObject"`), nil, Malformed, 400, "request.subResource is a number"},
		{"namespace is a number", edit(`"namespace":"ns1","operation"`, `"namespace":1,"operation"`), nil, Malformed, 400, "request.namespace is a number"},
		{"namespace without end", edit(`"namespace":"ns1","operation"`, `"namespace":"`+strings.Repeat("n", 300)+`","operation"`), nil, Malformed, 400, "longer"},
		{"operation is a list", edit(`"CREATE"`, `["CREATE"]`), nil, Malformed, 400, "request.operation is an array"},
		{"what we do not read may come twice", edit(`"dryRun":false`, `"dryRun":false,"dryRun":1`), nil, Translated, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.tables == nil {
				tt.tables = ns1()
			}
			answer, outcome, err := Review([]byte(tt.body), false, tt.tables, fpga.Options{})
			if err != nil {
				t.Fatal(err)
			}
			got := parse(t, answer)
			allowed := tt.decision == Allowed || tt.decision == Translated
			if outcome.Decision != tt.decision || got.Allowed != allowed || (len(got.Patch) > 0) != (tt.decision == Translated) {
				t.Errorf("%+v, answer %s, want %s", outcome, answer, tt.decision)
			}
			if string(got.UID) != uid && !strings.Contains(tt.name, "uid") {
				t.Errorf("uid %q", got.UID)
			}
			if allowed {
				return
			}
			if got.Result == nil || got.Result.Code != tt.code || int32(outcome.Code) != tt.code || got.Result.Status != "Failure" ||
				!strings.Contains(got.Result.Message, tt.message) || outcome.Message != got.Result.Message {
				t.Errorf("status %+v, outcome %+v, want %d and %q", got.Result, outcome, tt.code, tt.message)
			}
		})
	}
}

func TestWhatIsNoReviewIsDeniedAllTheSame(t *testing.T) {
	good := reviewOf(podOf("n3o"))
	edit := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(good) }
	for _, tt := range []struct{ name, body, uid, message string }{
		{"null", `null`, "", "null"},
		{"a list", `[]`, "", "an array"},
		{"a number", `7`, "", "a number"},
		{"an empty object", `{}`, "", `kind is ""`},
		{"a pod", podOf("n3o"), "", `kind is "Pod"`},
		{"another kind", edit(`"kind":"AdmissionReview"`, `"kind":"ConversionReview"`), uid, `"ConversionReview"`},
		{"the beta version", edit("admission.k8s.io/v1", "admission.k8s.io/v1beta1"), uid, `"admission.k8s.io/v1beta1"`},
		{"kind is a number", edit(`"AdmissionReview"`, `1`), uid, "kind"},
		{"kind twice", edit(`"request":`, `"kind":"AdmissionReview","request":`), uid, "kind appears twice"},
		{"apiVersion twice", edit(`"request":`, `"apiVersion":"","request":`), uid, "apiVersion appears twice"},
		{"request twice", edit(`"request":`, `"request":{},"request":`), "", "request appears twice"},
		{"no request", `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}`, "", "has no request"},
		{"request is null", `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":null}`, "", "has no request"},
		{"an answer", `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"x","allowed":true}}`, "", "has no request"},
		{"request is text", `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":"x"}`, "", "request is a string"},
		{"uid is a number", edit(`"`+uid+`"`, "5"), "", "request.uid is a number"},
		{"uid without end", edit(uid, strings.Repeat("u", 1000)), "", "request.uid is longer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer, outcome, err := Review([]byte(tt.body), false, ns1(), fpga.Options{})
			if err != nil {
				t.Fatal(err)
			}
			got := parse(t, answer)
			if got.Allowed || string(got.UID) != tt.uid || got.Result.Code != 400 || !strings.Contains(got.Result.Message, tt.message) {
				t.Errorf("answer %s, want uid %q and %q", answer, tt.uid, tt.message)
			}
			if !outcome.NoReview || outcome.Decision != Malformed {
				t.Errorf("outcome %+v", outcome)
			}
		})
	}
}

func TestBodiesThatCannotBeParsedAreErrors(t *testing.T) {
	for name, tt := range map[string]struct{ body, want string }{
		"nothing":         {"", "no JSON"},
		"text":            {"hello", "no JSON"},
		"less than a uid": {reviewOf(podOf())[:60], "no JSON"},
		"deep":            {strings.Repeat("[", 1000) + strings.Repeat("]", 1000), "no JSON"},
		"deep and broken": {strings.Repeat("[", 200) + "n" + strings.Repeat("x", smallBody-300), "no JSON"},
		"large, no JSON":  {"[" + strings.Repeat("n", smallBody+1), "no JSON"},
		"too large":       {`"` + strings.Repeat("x", MaxBody) + `"`, "8 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			answer, outcome, err := Review([]byte(tt.body), false, ns1(), fpga.Options{})
			if err == nil || answer != nil || outcome.Decision != Malformed || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 300 {
				t.Errorf("answer %.100s, %+v, error %.400v", answer, outcome, err)
			}
		})
	}
}

// What breaks off behind the uid, or goes on behind the review, can still be answered.
func TestBrokenReviewsWithAUIDAreDenied(t *testing.T) {
	for name, body := range map[string]string{
		"half a review":        reviewOf(podOf())[:200],
		"two reviews":          reviewOf("{}") + reviewOf("{}"),
		"an object in between": strings.Replace(reviewOf(podOf("n3o")), `"oldObject":null`, `"oldObject":{"corrupted json":}`, 1),
		"a broken object":      reviewOf(`{"corrupted json":}`),
		"a letter behind it":   reviewOf("{}") + "x",
		"a NUL behind it":      reviewOf("{}") + "\x00",
		"five bytes too short": reviewOf("{}")[:len(reviewOf("{}"))-5],
		"broken tolerations":   strings.Replace(reviewOf(podOf("n3o")), `"containers"`, `"tolerations":[},"containers"`, 1),
		"broken volumes":       strings.Replace(reviewOf(podOf("n3o")), `"containers"`, `"volumes":[x y,,],"containers"`, 1),
		"deep volumes":         strings.Replace(reviewOf(podOf("n3o")), `"containers"`, `"volumes":`+strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000)+`,"containers"`, 1),
		"broken managedFields": strings.Replace(reviewOf(podOf("n3o")), `"metadata":{`, `"metadata":{"managedFields":[{"a"}],`, 1),
		"a broken userInfo":    strings.Replace(reviewOf(podOf("n3o")), `"userInfo":{`, `"userInfo":{nonsense,`, 1),
		"a pod too deep":       reviewOf(`{"x":` + strings.Repeat("[", 301) + strings.Repeat("]", 301) + `}`),
	} {
		answer, outcome, err := Review([]byte(body), false, ns1(), fpga.Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := parse(t, answer)
		if got.Allowed || string(got.UID) != uid || got.Result.Code != 400 || !strings.Contains(got.Result.Message, "no JSON at byte") {
			t.Errorf("%s: %s", name, answer)
		}
		if !outcome.NoReview || outcome.Decision != Malformed {
			t.Errorf("%s: %+v", name, outcome)
		}
	}
}

func TestTextOfOthersCannotBreakTheAnswer(t *testing.T) {
	evil := "\"},{\"x\n\x01\xff\u2028<é"
	text, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{
		strings.Replace(reviewOf(podOf("n3o")), `"`+uid+`"`, string(text), 1),
		reviewOf(`{"spec":{"containers":[{"name":` + string(text) + `,"resources":{"limits":{"fpga.intel.com/x":"1"},"requests":{"fpga.intel.com/x":"1"}}}]}}`),
		strings.Replace(reviewOf(podOf("n3o")), `"resource":"pods"}`, `"resource":`+string(text)+`}`, 1),
	} {
		answer, _, err := Review([]byte(body), false, ns1(), fpga.Options{})
		if err != nil {
			t.Fatal(err)
		}
		parse(t, answer)
	}
	if got := string(jsonread.AppendString(nil, evil)); !json.Valid([]byte(got)) {
		t.Errorf("%s", got)
	}
}

func TestTheAuditAnnotationIsBounded(t *testing.T) {
	use := fpga.Use{Container: "c", Alias: "fpga.intel.com/n3o", Kind: v2.KindAcceleratorFunction, Name: "n3o", Resource: region}
	uses := []fpga.Use{use}
	if got := audit(uses); got != use.String() {
		t.Error(got)
	}
	for range 100 {
		uses = append(uses, use)
	}
	got := audit(uses)
	if len(got) > maxAudit || !strings.HasSuffix(got, "; …") || strings.Count(got, use.String()) < 20 {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

// Nobody has judged a container's name yet when a review comes.
func TestAContainersNameMakesNoAuditAnnotationOfItsOwn(t *testing.T) {
	forged := "c: fpga.intel.com/n0o -> AcceleratorFunction/n0o -> x; c"
	for _, uses := range [][]string{{"n3o"}, {"n3o", "n0o"}} {
		for _, name := range []string{forged, strings.Repeat("x", 2<<20), strings.Repeat("\x01", 2000), ""} {
			text, err := json.Marshal(name)
			if err != nil {
				t.Fatal(err)
			}
			body := strings.Replace(reviewOf(podOf(uses...)), `"name":"c"`, `"name":`+string(text), 1)
			answer, outcome, err := Review([]byte(body), false, ns1(), fpga.Options{})
			if err != nil || outcome.Decision != Translated {
				t.Fatalf("%+v, %v", outcome, err)
			}
			got := parse(t, answer).AuditAnnotations[auditKey]
			if len(got) > maxAudit || strings.Contains(got, "x; c") != (name == forged) || strings.HasPrefix(got, "c: ") {
				t.Errorf("%.20q: %d bytes: %.200s", name, len(got), got)
			}
			for _, use := range uses {
				if !strings.HasPrefix(got, fpga.Show(name)+": ") || !strings.Contains(got, " -> AcceleratorFunction/"+use+" -> ") {
					t.Errorf("%.20q: it does not say %s: %.200s", name, use, got)
				}
			}
		}
	}
}

func TestWhatIsToldOfARefusedPodIsBounded(t *testing.T) {
	long := strings.Repeat("n", 1<<20)
	for name, body := range map[string]string{
		"the pod's name":                 strings.Replace(reviewOf(podOf("none")), `"name":"p"`, `"name":"`+long+`"`, 1),
		"a namespace in a broken review": strings.Replace(reviewOf("{}"), `"namespace":"ns1"`, `"namespace":"`+long+`"`, 1) + "x",
	} {
		answer, outcome, err := Review([]byte(body), false, ns1(), fpga.Options{})
		if err != nil || outcome.Code == 0 || len(outcome.Pod)+len(outcome.Namespace) > 1<<10 || len(answer) > 8<<10 {
			t.Errorf("%s: %.1000s, %v, an answer of %d bytes", name, fmt.Sprintf("%+v", outcome), err, len(answer))
		}
	}
	broken := strings.Replace(reviewOf("{}"), uid, long, 1) + "x"
	if answer, outcome, err := Review([]byte(broken), false, ns1(), fpga.Options{}); err == nil || len(answer)+len(outcome.UID) > 1<<10 {
		t.Errorf("a uid in a broken review: %v, an answer of %d bytes", err, len(answer))
	}
}

// FuzzReview: whatever comes, there is an answer that the API server understands, or an error; what is allowed has a
// patch that decodes.
func FuzzReview(f *testing.F) {
	f.Add([]byte(usual()), false)
	f.Add([]byte(usual()), true)
	f.Add([]byte(reviewOf(podOf("n3o", "n0p"))), false)
	f.Add([]byte(reviewOf(podOf("region-"+iface))), true)
	f.Add([]byte(reviewOf(`{}`)), false)
	f.Add([]byte(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":1}}`), false)
	f.Add([]byte(`[[[{"a":NaN}]]]`), false)
	f.Fuzz(func(t *testing.T, body []byte, check bool) {
		answer, outcome, err := Review(body, check, ns1(), fpga.Options{ModeAffinity: true})
		if err != nil {
			if answer != nil {
				t.Errorf("an answer beside the error %v: %s", err, answer)
			}
			return
		}
		got := parse(t, answer)
		if got.Allowed != (outcome.Code == 0) || got.Allowed == (got.Result != nil) {
			t.Errorf("outcome %+v, answer %s", outcome, answer)
		}
		if got.Allowed && len(got.Patch) > 0 {
			if _, err := jsonpatch.DecodePatch(got.Patch); err != nil || check {
				t.Errorf("check %v, patch %s: %v", check, got.Patch, err)
			}
		}
	})
}

func BenchmarkReview(b *testing.B) {
	body := []byte(usual())
	h := newHandler(Config{Tables: ns1(), Options: fpga.Options{ModeAffinity: true}})
	buffer := &buffer{b: body}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		answer, outcome, err := h.review(b.Context(), buffer, false)
		buffer.answer = answer[:0]
		if err != nil || outcome.Decision != Translated {
			b.Fatalf("%s, %+v, %v", answer, outcome, err)
		}
	}
}
