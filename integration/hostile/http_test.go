package hostile

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type noCertificates struct{}

func (noCertificates) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return nil, errors.New("none")
}
func (noCertificates) Missing() []string { return nil }

// mustGet sends the request to a webhook and checks the answer.
func (r Request) mustGet(t *testing.T, client *http.Client, url string) {
	t.Helper()
	method, path, status := r.Method, r.Path, r.Status
	if method == "" {
		method = "POST"
	}
	if path == "" {
		path = "/pods"
	}
	if status == 0 {
		status = 200
	}
	var body io.Reader = bytes.NewReader(r.Body)
	if r.Chunked {
		body = io.MultiReader(body) // of which net/http does not know the length
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.URL.Path = path
	if r.Header == nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, v := range r.Header {
		if v != "" {
			req.Header.Set(name, v)
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		if status == 413 {
			return // the server closed while the body was being sent
		}
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status {
		t.Fatalf("status %d, want %d: %.300s", resp.StatusCode, status, got)
	}
	if status != 200 {
		if len(got) > maxMessage || bytes.Contains(got, []byte(`"allowed":true`)) {
			t.Errorf("a strange refusal: %.300s", got)
		}
		return
	}
	r.mustAnswer(t, got)
}

// mustAnswer checks the review that answers the request's.
func (r Request) mustAnswer(t *testing.T, b []byte) {
	t.Helper()
	a := readAnswer(t, b)
	mustSay(t, r.Answer, a)
	var asked struct {
		Request struct {
			UID    string          `json:"uid"`
			Object json.RawMessage `json:"object"`
		} `json:"request"`
	}
	err := json.Unmarshal(r.Body, &asked)
	if a.Allowed && a.UID != asked.Request.UID {
		t.Errorf("uid %q, want %q", a.UID, asked.Request.UID)
	}
	if !a.Allowed || err != nil {
		return
	}
	// encoding/json mends what is no Unicode, in the pod that was sent and in the one that is expected alike.
	pod := asked.Request.Object
	got, ok := patched(t, pod, a).(Object)
	if !ok {
		t.Fatal("the pod has become something else")
	}
	if spec, ok := got["spec"].(Object); ok {
		delete(spec, "affinity") // to the mode: where the webhook is deployed, it is on
	}
	if diff := cmp.Diff(r.Answer.Changed(pod), any(got), cmp.Transformer("mended", func(s string) string {
		return strings.ToValidUTF8(s, "\ufffd")
	})); diff != "" {
		t.Errorf("the pod (-want +got):\n%.2000s", diff)
	}
}
