//go:build integration

package hostile

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/inlay-project/inlay/integration/admission"
	"github.com/inlay-project/inlay/integration/apiserver"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// A real API server, first with both webhooks, then without the mutating one, then with none.
func TestTheAPIServer(t *testing.T) {
	ctx := t.Context()
	program, err := admission.Build(ctx, os.Getenv("INLAY_BIN"), suite.dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := admission.Install(ctx, apiserver.Start(t, apiserver.Options{}), program)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Proxy.Close)
	makeWorld(t, s.Cluster)
	replica, err := s.StartReplica()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := replica.Kill(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	if err := s.AwaitReady(ctx, 1); err != nil { // ready: it knows the mappings
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(s.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	a := &api{server: s.Server(), client: client}
	t.Run("with the webhooks", func(t *testing.T) {
		a.each(t, func(t *testing.T, c Case, got created) { got.must(t, c, c.API) })
	})
	t.Run("straight to the webhook", func(t *testing.T) {
		port := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // its authority is not ours
		defer port.CloseIdleConnections()
		for _, r := range Requests() {
			t.Run(r.Name, func(t *testing.T) { r.mustGet(t, port, "https://"+replica.Address) })
		}
	})
	t.Run("by the command mutate", func(t *testing.T) { mutate(t, program) })

	s.Kubectl(t, "delete", "mutatingwebhookconfiguration", admission.Service)
	a.until(t, func(c created) bool { return strings.Contains(c.message, "fpga.validator.webhooks.intel.com") })
	t.Run("with the validating webhook alone", func(t *testing.T) {
		a.each(t, func(t *testing.T, c Case, got created) {
			switch {
			case c.API.Kind == Translated:
				got.must(t, c, denied())
			case c.API.Kind == Denied && c.Bare != "":
				if got.status < 400 { // the API server's own rules come first now
					t.Errorf("admitted: %s", got.body)
				}
			default:
				got.must(t, c, Verdict{Kind: c.API.Kind})
			}
		})
	})

	s.Kubectl(t, "delete", "validatingwebhookconfiguration", admission.Service)
	a.until(t, func(c created) bool { return c.status < 400 })
	t.Run("without the webhooks", func(t *testing.T) {
		entitled := true
		a.each(t, func(t *testing.T, c Case, got created) {
			if c.Bare != "" {
				got.must(t, c, rejected(c.Bare))
				return
			}
			if got.status >= 400 {
				t.Errorf("refused without the webhook: %s", got.message)
			}
			entitled = entitled && len(Entitled(c.In, json.RawMessage(got.body))) == 0
		})
		if entitled {
			t.Error("without the webhooks no pod has what no mapping gives, so the check above could not fail")
		}
	})
}

// makeWorld creates the namespaces and mappings. Those that lead nowhere must be refused.
func makeWorld(t *testing.T, c *apiserver.Cluster) {
	t.Helper()
	for _, ns := range Namespaces() {
		if err := c.MakeNamespace(t.Context(), ns); err != nil {
			t.Fatal(err)
		}
	}
	var old, young []any
	for _, o := range Mappings() {
		if age := epoch(); o.GetCreationTimestamp() == age {
			old = append(old, o)
		} else {
			young = append(young, o)
		}
	}
	c.Apply(t, string(asJSON(Object{"apiVersion": "v1", "kind": "List", "items": old})))
	time.Sleep(1100 * time.Millisecond) // ages are told in seconds
	c.Apply(t, string(asJSON(Object{"apiVersion": "v1", "kind": "List", "items": young})))
	for _, o := range Invalid() {
		if r := c.Admin().Try(t.Context(), string(asJSON(o)), "create", "-f", "-"); r.Err == nil {
			t.Errorf("%s %s was created", o.Kind(), o.GetName())
		}
	}
}

// api creates pods. Nothing is stored: dry run goes through all of admission and validation.
type api struct {
	server string
	client *http.Client
}

// created is what became of a creation.
type created struct {
	status   int
	body     []byte
	message  string // of the refusal
	warnings string
}

func (a *api) create(ctx context.Context, namespace string, pod any) (created, error) {
	url := a.server + "/api/v1/namespaces/" + namespace + "/pods?dryRun=All"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(asJSON(pod)))
	if err != nil {
		return created{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.client.Do(req)
	if err != nil {
		return created{}, err
	}
	defer resp.Body.Close()
	c := created{status: resp.StatusCode, warnings: strings.Join(resp.Header.Values("Warning"), "\n")}
	if c.body, err = io.ReadAll(resp.Body); err != nil || c.status < 400 {
		return c, err
	}
	var status struct{ Message string }
	err = json.Unmarshal(c.body, &status)
	c.message = status.Message
	return c, err
}

func (a *api) each(t *testing.T, judge func(*testing.T, Case, created)) {
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			got, err := a.create(t.Context(), c.In, c.Pod)
			if err != nil {
				t.Fatal(err)
			}
			judge(t, c, got)
		})
	}
}

// until waits for the API server to see a change of its registrations, by what it does with a good pod.
func (a *api) until(t *testing.T, seen func(created) bool) {
	t.Helper()
	apiserver.Eventually(t, 10*time.Second, "the API server to see the registrations", func() error {
		got, err := a.create(t.Context(), video, pod(only(ask(alias+"n3o", 1))))
		if err == nil && !seen(got) {
			err = fmt.Errorf("still: %d %s", got.status, got.message)
		}
		return err
	})
}

func (c created) kind() VerdictKind {
	switch {
	case strings.Contains(c.message, "webhooks.intel.com") && strings.Contains(c.message, "denied the request"):
		return Denied
	case c.status >= 400:
		return Rejected
	}
	return Translated // or untouched: the pod tells
}

// must holds what became of a case's pod against a verdict.
func (c created) must(t *testing.T, of Case, want Verdict) {
	t.Helper()
	kind := c.kind()
	if kind == Translated && want.Kind == Untouched {
		kind = Untouched
	}
	if kind != want.Kind {
		t.Fatalf("%s (%d %.600s), want %s", kind, c.status, c.message, want.Kind)
	}
	for _, part := range want.Says {
		if said := c.message + c.warnings; !strings.Contains(said, part) {
			t.Errorf("%.600q does not say %q", said, part)
		}
	}
	if c.status >= 400 {
		return
	}
	if faults := Entitled(of.In, json.RawMessage(c.body)); len(faults) > 0 {
		t.Errorf("the admitted pod has what no mapping gives: %v", faults)
	}
	expected, err := decodePod(want.Changed(of.Pod))
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodePod(json.RawMessage(c.body))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(essence(expected), essence(got)); diff != "" {
		t.Errorf("the pod (-want +got):\n%.3000s", diff)
	}
}

// containerEssence is what a case speaks of in a container; the API server completes the rest.
type containerEssence struct {
	Name      string
	Env       []corev1.EnvVar
	EnvFrom   []corev1.EnvFromSource
	Resources map[string]string
}

func essence(p *corev1.Pod) []containerEssence {
	var all []containerEssence
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for _, c := range list {
			e := containerEssence{Name: c.Name, EnvFrom: c.EnvFrom, Resources: map[string]string{}}
			for _, v := range c.Env {
				if v.ValueFrom != nil && v.ValueFrom.FieldRef != nil {
					v.ValueFrom.FieldRef.APIVersion = "v1"
				}
				e.Env = append(e.Env, v)
			}
			for name, q := range c.Resources.Limits {
				if strings.HasPrefix(string(name), v2.Prefix) {
					e.Resources["limits "+string(name)] = fmt.Sprint(q.Value())
				}
			}
			for name, q := range c.Resources.Requests {
				if strings.HasPrefix(string(name), v2.Prefix) {
					e.Resources["requests "+string(name)] = fmt.Sprint(q.Value())
				}
			}
			all = append(all, e)
		}
	}
	return all
}

// mutate puts the requests that are a body and nothing else to the command that answers without a server.
func mutate(t *testing.T, program string) {
	file := filepath.Join(t.TempDir(), "mappings.yaml")
	var mappings []any
	for _, o := range append(Mappings(), Invalid()...) {
		mappings = append(mappings, o)
	}
	if err := os.WriteFile(file, asJSON(Object{"apiVersion": "v1", "kind": "List", "items": mappings}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, r := range Requests() {
		if r.Method != "" || r.Path != "" || r.Header != nil || r.Chunked {
			continue // what HTTP says is no part of a review
		}
		t.Run(r.Name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), program, "mutate", "--mappings", file)
			cmd.Stdin = bytes.NewReader(r.Body)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if r.Status == 0 {
				r.mustAnswer(t, out)
				return
			}
			if err == nil {
				t.Errorf("%s: no error for what HTTP refuses with %d", out, r.Status)
			}
			if a := readAnswer(t, out); a.Allowed || len(a.Patch) > 0 {
				t.Errorf("allowed: %s (%s)", out, stderr.Bytes())
			}
		})
	}
}
