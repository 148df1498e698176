package mappings

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/client-go/rest"

	"github.com/inlay-project/inlay/webhook/api/follow"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
	webhook "github.com/inlay-project/inlay/webhook/fpga"
)

func sorted(less func(a, b string) bool) cmp.Option { return cmpopts.SortSlices(less) }

func TestTheAPIServerIsAskedForExactlyThat(t *testing.T) {
	const (
		n0o  = `{"apiVersion":"fpga.intel.com/v2","kind":"AcceleratorFunction","metadata":{"name":"n0o","namespace":"ns1","creationTimestamp":"2026-01-01T00:00:00Z"},"spec":{"mode":"region","interfaceId":"` + iface + `","afuId":"` + nlb0 + `"}}`
		a10  = `{"metadata":{"name":"a10","namespace":"ns1"},"spec":{"interfaceId":"` + iface + `"}}`
		odd  = `{"metadata":{"name":"odd","namespace":"ns1"},"spec":{"interfaceId":7}}`
		root = "/apis/fpga.intel.com/v2/namespaces/ns1/"
	)
	for _, tt := range []struct {
		name    string
		kind    v2.Kind
		sought  webhook.Sought
		request string
		status  int
		answer  string
		want    string
		fails   bool
	}{
		{"a function", v2.KindAcceleratorFunction, named("n0o"), root + "acceleratorfunctions/n0o", 200, n0o, "AcceleratorFunction n0o", false},
		{"a card", v2.KindFpgaRegion, named("a10"), root + "fpgaregions/a10", 200, a10, "FpgaRegion a10", false},
		{"none", v2.KindFpgaRegion, named("n0o"), root + "fpgaregions/n0o", 404, `{"kind":"Status","reason":"NotFound","code":404}`, "", false},
		{"one that cannot be read", v2.KindFpgaRegion, named("odd"), root + "fpgaregions/odd", 200, odd, "", false},
		{
			"by ids", v2.KindAcceleratorFunction,
			webhook.Sought{Interface: iface, Function: nlb0},
			root + "acceleratorfunctions?fieldSelector=spec.interfaceId%3D" + iface + "%2Cspec.afuId%3D" + nlb0 + "&limit=8", 200,
			`{"items":[` + odd + `,` + n0o + `]}`, "AcceleratorFunction n0o", false,
		},
		{
			"by one id", v2.KindFpgaRegion,
			webhook.Sought{Interface: iface},
			root + "fpgaregions?fieldSelector=spec.interfaceId%3D" + iface + "&limit=8", 200, `{"items":[` + a10 + `]}`, "FpgaRegion a10", false,
		},
		{
			"it cannot select", v2.KindFpgaRegion,
			webhook.Sought{Interface: iface},
			root + "fpgaregions?fieldSelector=spec.interfaceId%3D" + iface + "&limit=8", 400,
			`{"kind":"Status","reason":"BadRequest","message":"field label not supported","code":400}`, "", false,
		},
		{"not allowed", v2.KindFpgaRegion, named("a10"), root + "fpgaregions/a10", 403, `{"kind":"Status","reason":"Forbidden","code":403}`, "", true},
		{"busy", v2.KindFpgaRegion, named("a10"), root + "fpgaregions/a10", 429, `{"kind":"Status","reason":"TooManyRequests","code":429}`, "", true},
		{"away", v2.KindFpgaRegion, named("a10"), root + "fpgaregions/a10", 503, `no`, "", true},
		{"no JSON", v2.KindFpgaRegion, webhook.Sought{Interface: iface}, root + "fpgaregions?fieldSelector=spec.interfaceId%3D" + iface + "&limit=8", 200, `<html>`, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var requests []string
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests = append(requests, r.URL.String())
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.answer)) // the client may have gone
			}))
			defer s.Close()
			client, err := follow.Client(&rest.Config{Host: s.URL})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			objects, err := Ask(client)(t.Context(), tt.kind, "ns1", tt.sought)
			var entries []webhook.Entry
			for _, o := range objects {
				entries = append(entries, webhook.EntryOf(o))
			}
			if got := names(entries); got != tt.want || (err != nil) != tt.fails {
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
			for _, e := range entries {
				if e.Invalid != nil {
					t.Errorf("%s leads nowhere: %v", e.Name, e.Invalid)
				}
			}
			if diff := cmp.Diff([]string{tt.request}, requests); diff != "" || time.Since(began) > 900*time.Millisecond {
				t.Errorf("requests, within %v (-want +got):\n%s", time.Since(began), diff)
			}
		})
	}
}
