//go:build integration

package admission

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/inlay-project/inlay/integration/apiserver"
)

// foreign is somebody else's mutating webhook. It is called after ours, for its name comes later, and again when ours
// has changed what it left.
func (s *System) foreign(t *testing.T, ns string, change func(corev1.Pod) string) {
	t.Helper()
	ca, caKey, err := apiserver.NewAuthority("foreign")
	if err != nil {
		t.Fatal(err)
	}
	host := s.Address()
	cert, key, err := apiserver.Issue(ca, caKey, host)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "8443"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{pair}},
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var review admissionv1.AdmissionReview
			var pod corev1.Pod
			if err := json.NewDecoder(r.Body).Decode(&review); err != nil || json.Unmarshal(review.Request.Object.Raw, &pod) != nil {
				http.Error(w, "no review of a pod", http.StatusBadRequest)
				return
			}
			review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
			if patch := change(pod); patch != "" {
				kind := admissionv1.PatchTypeJSONPatch
				review.Response.Patch, review.Response.PatchType = []byte(patch), &kind
			}
			review.Request = nil
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(review)
		}),
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() { _ = server.Close(); <-done })

	name := "zz-foreign-" + ns
	s.Apply(t, fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: %[1]s}
webhooks:
  - name: foreign.example.com
    admissionReviewVersions: [v1]
    sideEffects: None
    reinvocationPolicy: IfNeeded
    clientConfig: {url: "https://%[2]s:8443/", caBundle: %[3]s}
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[4]s}}
    rules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods]}]
`, name, host, base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})), ns))
	// It is in force a moment after it is stored: when it has been seen to act.
	probe := asking("")
	probe.Labels = map[string]string{"probe": "yes"}
	apiserver.Eventually(t, waiting, "the foreign webhook", func() error {
		p, err := dryRun(t.Context(), s.client(t), ns, probe)
		if err == nil && p.Labels["foreign"] == "" {
			err = fmt.Errorf("it has not been called")
		}
		return err
	})
}

// marks is the change that shows that a foreign webhook is in force.
func marks(p corev1.Pod) string {
	if p.Labels["probe"] == "" || p.Labels["foreign"] != "" {
		return ""
	}
	return `[{"op":"add","path":"/metadata/labels/foreign","value":"yes"}]`
}

func TestForeignWebhookThatChangesPods(t *testing.T) {
	t.Parallel()
	s := shared(t)
	const spec = "{containers: [{name: c, image: i, resources: {limits: {fpga.intel.com/n3o: 1}}}]}"
	names := func(p corev1.Pod) (all string) {
		for _, e := range p.Spec.Containers[0].Env {
			all += e.Name + " "
		}
		return all
	}

	t.Run("a variable of another kind is left alone", func(t *testing.T) {
		t.Parallel()
		ns := s.namespace(t, usual())
		s.foreign(t, ns, func(p corev1.Pod) string {
			if m := marks(p); m != "" || strings.Contains(names(p), "HTTP_PROXY") || len(p.Spec.Containers[0].Env) == 0 {
				return m
			}
			return `[{"op":"add","path":"/spec/containers/0/env/0","value":{"name":"HTTP_PROXY","value":"x"}}]`
		})
		got := containers(s.create(t, ns, manifest("p", spec)))
		want := map[string]seen{"c": asks([]string{"HTTP_PROXY=x", "FPGA_AFU_1=" + nlb3, "FPGA_REGION_1=" + iface}, region, "1")}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("a function that no mapping gives is refused", func(t *testing.T) {
		t.Parallel()
		ns := s.namespace(t, usual())
		s.foreign(t, ns, func(p corev1.Pod) string {
			if m := marks(p); m != "" || strings.Contains(names(p), "FPGA_AFU_2") || len(p.Spec.Containers[0].Env) == 0 {
				return m
			}
			return `[{"op":"add","path":"/spec/containers/0/env/-","value":{"name":"FPGA_AFU_2","value":"` + aocx + `"}}]`
		})
		r := s.Admin().Try(t.Context(), manifest("p", spec), "create", "-n", ns, "-f", "-")
		if r.Err == nil || !strings.Contains(r.Stderr, "FPGA_AFU_2") || !strings.Contains(r.Stderr, ".webhooks.intel.com\" denied the request") {
			t.Errorf("got %v, want a denial that names FPGA_AFU_2", r.Err)
		}
		t.Log(strings.TrimSpace(r.Stderr))
	})
	t.Run("a container with a mapping's name is translated too", func(t *testing.T) {
		t.Parallel()
		ns := s.namespace(t, usual())
		s.foreign(t, ns, func(p corev1.Pod) string {
			if m := marks(p); m != "" || len(p.Spec.Containers) > 1 || p.Labels["probe"] != "" {
				return m
			}
			return `[{"op":"add","path":"/spec/containers/-","value":{"name":"added","image":"i","resources":{
				"limits":{"fpga.intel.com/n0o":"1"},"requests":{"fpga.intel.com/n0o":"1"}}}}]`
		})
		got := containers(s.create(t, ns, manifest("p", spec)))
		want := map[string]seen{
			"c":     asks([]string{"FPGA_AFU_1=" + nlb3, "FPGA_REGION_1=" + iface}, region, "1"),
			"added": asks([]string{"FPGA_AFU_1=" + nlb0, "FPGA_REGION_1=" + iface}, region, "1"),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	// Ours is called twice at most. What changes after that is seen by the validating webhook alone.
	t.Run("a change after the last call of ours is refused", func(t *testing.T) {
		t.Parallel()
		for name, late := range map[string]string{
			"FPGA_AFU_2":      `[{"op":"add","path":"/spec/containers/0/env/-","value":{"name":"FPGA_AFU_2","value":"` + nlb0 + `"}}]`,
			"n0o":             `[{"op":"add","path":"/spec/containers/0/resources/limits/fpga.intel.com~1n0o","value":"1"},{"op":"add","path":"/spec/containers/0/resources/requests/fpga.intel.com~1n0o","value":"1"}]`,
			"region-" + other: `[{"op":"add","path":"/spec/containers/0/resources/limits/fpga.intel.com~1region-` + other + `","value":"1"},{"op":"add","path":"/spec/containers/0/resources/requests/fpga.intel.com~1region-` + other + `","value":"1"}]`,
		} {
			ns := s.namespace(t, usual())
			s.foreign(t, ns, func(p corev1.Pod) string {
				switch m := marks(p); {
				case m != "" || p.Labels["probe"] != "":
					return m
				case len(p.Spec.Containers) == 1: // first call: make ours act once more
					return `[{"op":"add","path":"/spec/containers/-","value":{"name":"added","image":"i","resources":{
						"limits":{"fpga.intel.com/n0o":"1"},"requests":{"fpga.intel.com/n0o":"1"}}}}]`
				default:
					return late
				}
			})
			r := s.Admin().Try(t.Context(), manifest("p", spec), "create", "-n", ns, "-f", "-")
			if r.Err == nil || !strings.Contains(r.Stderr, name) || !strings.Contains(r.Stderr, `"fpga.validator.webhooks.intel.com" denied the request`) {
				t.Errorf("%s: got %v, want a denial of the validating webhook", name, r.Err)
			}
			t.Log(strings.TrimSpace(r.Stderr))
		}
	})
}

func TestAuditLogNamesTheMapping(t *testing.T) {
	t.Parallel()
	s := shared(t)
	ns := s.namespace(t, usual())
	s.create(t, ns, manifest("p", "{containers: [{name: main, image: i, resources: {limits: {fpga.intel.com/n3o: 1}}}, {name: raw, image: i, resources: {limits: {"+nlb0AF+": 1}}}]}"))
	s.create(t, ns, manifest("plain", "{containers: [{name: c, image: i}]}"))
	var events []apiserver.Event
	apiserver.Eventually(t, waiting, "audit events", func() error {
		var err error
		if events, err = s.Audit(ns); err != nil {
			return err
		}
		pods := 0
		for _, e := range events {
			if e.ObjectRef.Resource == "pods" {
				pods++
			}
		}
		if pods < 2 {
			return fmt.Errorf("%d events of pods", pods)
		}
		return nil
	})
	for _, e := range events {
		if e.ObjectRef.Resource != "pods" {
			continue
		}
		used := e.Annotations["fpga.mutator.webhooks.intel.com/mappings"]
		switch e.ObjectRef.Name {
		case "p":
			t.Log(used)
			for _, want := range []string{"main: fpga.intel.com/n3o -> AcceleratorFunction/n3o -> " + region, "AcceleratorFunction/n0p -> " + nlb0AF} {
				if !strings.Contains(used, want) {
					t.Errorf("the audit annotation is %q, want it to say %q", used, want)
				}
			}
		case "plain":
			if used != "" {
				t.Errorf("a pod without FPGAs has the annotation %q", used)
			}
		}
	}
}
