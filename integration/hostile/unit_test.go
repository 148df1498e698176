package hostile

import (
	"encoding/json"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
	"github.com/inlay-project/inlay/webhook/fpga"
	"github.com/inlay-project/inlay/webhook/server"
)

// tables are the mappings of the world, in step.
type tables map[string]*fpga.Table

func (t tables) Table(namespace string) *fpga.Table { return t[namespace] }
func (t tables) Missing() []string                  { return nil }

func worldTables() tables {
	entries := map[string][]fpga.Entry{}
	for _, o := range append(Mappings(), Invalid()...) {
		entries[o.GetNamespace()] = append(entries[o.GetNamespace()], fpga.EntryOf(o))
	}
	t := tables{}
	for ns, list := range entries {
		t[ns] = fpga.NewTable(list)
	}
	return t
}

// answer is what an AdmissionReview answers.
type answer struct {
	UID       string   `json:"uid"`
	Allowed   bool     `json:"allowed"`
	Patch     []byte   `json:"patch"`
	PatchType string   `json:"patchType"`
	Warnings  []string `json:"warnings"`
	Status    struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"status"`
}

func (a answer) kind() VerdictKind {
	switch {
	case a.Allowed && len(a.Patch) > 0:
		return Translated
	case a.Allowed:
		return Untouched
	case a.Status.Code == 400:
		return Rejected
	}
	return Denied
}

func readAnswer(t *testing.T, b []byte) answer {
	t.Helper()
	var review struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Response   answer `json:"response"`
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	if err := d.Decode(&review); err != nil {
		t.Fatalf("the answer is no review: %v\n%.300s", err, b)
	}
	if review.APIVersion != "admission.k8s.io/v1" || review.Kind != "AdmissionReview" || d.More() {
		t.Fatalf("the answer is no review: %.300s", b)
	}
	return review.Response
}

// askWebhook puts a pod to the webhook.
func askWebhook(t *testing.T, namespace string, pod any, check bool, o fpga.Options) answer {
	t.Helper()
	b, _, err := server.Review(asJSON(Review(namespace, pod)), check, worldTables(), o)
	if err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, b)
}

// patched is the pod with an answer's patch.
func patched(t *testing.T, pod []byte, a answer) any {
	t.Helper()
	if len(a.Patch) == 0 {
		return value(json.RawMessage(pod))
	}
	p, err := jsonpatch.DecodePatch(a.Patch)
	if err != nil {
		t.Fatalf("the patch cannot be read: %v\n%.300s", err, a.Patch)
	}
	out, err := p.Apply(pod)
	if err != nil {
		t.Fatalf("the patch does not apply: %v\n%.300s", err, a.Patch)
	}
	return value(json.RawMessage(out))
}

// maxMessage bounds what a person has to read, in bytes.
const maxMessage = 4 << 10

// mustSay checks a verdict's kind and its words.
func mustSay(t *testing.T, want Verdict, a answer) {
	t.Helper()
	if got := a.kind(); got != want.Kind {
		t.Fatalf("%s: %s; want %s", got, a.Status.Message, want.Kind)
	}
	said := a.Status.Message + strings.Join(a.Warnings, "\n")
	for _, part := range want.Says {
		if !strings.Contains(said, part) {
			t.Errorf("%q does not say %q", said, part)
		}
	}
	if len(said) > maxMessage || !utf8.ValidString(said) || strings.ContainsAny(a.Status.Message, "\n\r\x00") {
		t.Errorf("a message of %d bytes that is no line of text: %.300q", len(said), said)
	}
}

func TestTheWebhookOnEveryPod(t *testing.T) {
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			want := c.API
			if c.Direct != nil {
				want = *c.Direct
			}
			a := askWebhook(t, c.In, c.Pod, false, fpga.Options{})
			if want.Kind == Denied && a.kind() == Rejected {
				a.Status.Code = 403 // refused as malformed: how it is refused is the webhook's own affair here
			}
			mustSay(t, want, a)
			got := patched(t, asJSON(c.Pod), a)
			if !a.Allowed {
				if len(a.Patch) > 0 {
					t.Error("a denial with a patch")
				}
				if checked := askWebhook(t, c.In, c.Pod, true, fpga.Options{}); checked.Allowed {
					t.Error("the validating webhook allows what the mutating one denies")
				}
				return
			}
			if diff := cmp.Diff(want.Changed(c.Pod), got); diff != "" {
				t.Errorf("the pod (-want +got):\n%.3000s", diff)
			}
			mustBeSettled(t, c.In, got)
			checked := askWebhook(t, c.In, c.Pod, true, fpga.Options{})
			if checked.Allowed != (want.Kind == Untouched) {
				t.Errorf("the validating webhook, without the translation: %s %s", checked.kind(), checked.Status.Message)
			}
			withAffinity := patched(t, asJSON(c.Pod), askWebhook(t, c.In, c.Pod, false, fpga.Options{ModeAffinity: true}))
			mustBeSettled(t, c.In, withAffinity)
			mustBeAffine(t, want, withAffinity)
		})
	}
}

// mustBeSettled checks that a pod has nothing that its namespace may not have, passes both webhooks and is not changed
// again.
func mustBeSettled(t *testing.T, namespace string, pod any) {
	t.Helper()
	if faults := Entitled(namespace, pod); len(faults) > 0 {
		t.Errorf("the admitted pod has what no mapping gives: %v", faults)
	}
	if a := askWebhook(t, namespace, pod, true, fpga.Options{}); !a.Allowed {
		t.Errorf("the validating webhook denies the outcome: %s", a.Status.Message)
	}
	if a := askWebhook(t, namespace, pod, false, fpga.Options{ModeAffinity: true}); a.kind() != Untouched {
		t.Errorf("the outcome is changed again: %s %s %s", a.kind(), a.Patch, a.Status.Message)
	}
}

// mustBeAffine checks that a translated pod goes to nodes of one mode only, whichever term of its affinity is met.
func mustBeAffine(t *testing.T, want Verdict, pod any) {
	t.Helper()
	modes := map[v2.Mode]bool{}
	for _, c := range want.Changes {
		for resource, n := range c.Resources {
			if n != "0" {
				modes[c.mode(resource)] = true
			}
		}
	}
	if len(modes) != 1 {
		return
	}
	var affinity struct {
		Spec struct {
			Affinity struct {
				NodeAffinity struct {
					Required struct {
						NodeSelectorTerms []struct {
							MatchExpressions []struct {
								Key, Operator string
								Values        []string
							}
						}
					} `json:"requiredDuringSchedulingIgnoredDuringExecution"`
				}
			}
		}
	}
	if err := json.Unmarshal(asJSON(pod), &affinity); err != nil {
		t.Fatal(err)
	}
	terms := affinity.Spec.Affinity.NodeAffinity.Required.NodeSelectorTerms
	if len(terms) == 0 {
		t.Error("a translated pod without affinity to a mode")
	}
	for _, term := range terms {
		found := false
		for _, e := range term.MatchExpressions {
			found = found || e.Key == v2.ModeLabel && e.Operator == "In" && len(e.Values) == 1 && modes[v2.Mode(e.Values[0])]
		}
		if !found {
			t.Errorf("a term without the mode: %+v", term)
		}
	}
}

// mode is that of the nodes that a container needs for a resource.
func (c Change) mode(resource string) v2.Mode {
	switch {
	case strings.HasPrefix(resource, v2.Prefix+"af-"):
		return v2.ModeAF
	case len(c.Env) > 0:
		return v2.ModeRegion
	}
	return v2.ModeRegionDevel
}

// The denials of the table come from the mappings that are missing: where they are there, the same pod is admitted.
func TestTheTableCanFail(t *testing.T) {
	admitted := 0
	for _, c := range Cases() {
		if c.API.Kind != Denied || c.In == vault || c.Direct != nil {
			continue
		}
		if askWebhook(t, vault, c.Pod, false, fpga.Options{}).Allowed {
			admitted++
			t.Logf("where the prize is mapped: %s", c.Name)
			if len(Entitled(c.In, c.Pod)) == 0 && !strings.Contains(string(asJSON(c.Pod)), "gold") {
				t.Errorf("%s: the judge sees nothing wrong with it in %s", c.Name, c.In)
			}
		}
	}
	const least = 10
	if admitted < least {
		t.Errorf("%d denied pods are admitted where the prize is mapped, want at least %d", admitted, least)
	}
}

func TestTheWebhookOnEveryRequest(t *testing.T) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	s, err := server.New(server.Config{Listen: "127.0.0.1:0", Certificates: noCertificates{}, Tables: worldTables(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	port := httptest.NewServer(s.Handler())
	defer port.Close()
	for _, r := range Requests() {
		t.Run(r.Name, func(t *testing.T) { r.mustGet(t, port.Client(), port.URL) })
	}
}
