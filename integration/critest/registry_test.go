package critest

import (
	"io"
	"net/http"
	"testing"

	"github.com/inlay-project/inlay/integration/ocitest"
)

func TestTheRegistryServesImagesUnderTheirNames(t *testing.T) {
	r, err := Serve(t.TempDir(), []ocitest.Image{{Name: "a.test/some/one:1"}, {Name: "a.test/two:latest"}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for path, want := range map[string]int{
		"/v2/some/one/manifests/1":      http.StatusOK,
		"/v2/two/manifests/latest":      http.StatusOK,
		"/v2/some/one/manifests/latest": http.StatusNotFound,
		"/v2/three/manifests/latest":    http.StatusNotFound,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.Addr()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := new(http.Client).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, answer.Body)
		if err != nil {
			t.Error(err)
		}
		if _ = answer.Body.Close(); answer.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, answer.StatusCode, want)
		}
	}
}

func TestAnImageWithoutAPlaceInTheRegistryIsRefused(t *testing.T) {
	for _, name := range []string{"", "a.test/untagged"} {
		if r, err := Serve(t.TempDir(), []ocitest.Image{{Name: name}}); err == nil {
			_ = r.Close()
			t.Errorf("%q is served", name)
		}
	}
}
