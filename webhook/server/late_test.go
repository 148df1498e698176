package server

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
	"github.com/inlay-project/inlay/webhook/fpga"
)

// finder is an API server of whose mappings the tables do not know.
type finder struct {
	mu    sync.Mutex
	has   []fpga.Entry
	asked [][]fpga.Sought
	ctx   context.Context
	then  func() // before it answers
}

func (f *finder) Find(ctx context.Context, namespace string, sought []fpga.Sought) []fpga.Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked, f.ctx = append(f.asked, sought), ctx
	if f.then != nil {
		f.then()
	}
	if namespace != "ns1" {
		return nil
	}
	return f.has
}

func late(name, mode, afu string) fpga.Entry {
	return fpga.EntryOf(&v2.AcceleratorFunction{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns1"},
		Spec:       v2.AcceleratorFunctionSpec{Mode: mode, InterfaceID: iface, AfuID: afu},
	})
}

// translatedPod is what podOf(n3o) is once it is translated.
const translatedPod = `{"metadata":{"name":"p","namespace":"ns1"},"spec":{"containers":[{"name":"c","env":[{"name":"FPGA_AFU_1","value":"` + nlb3 +
	`"},{"name":"FPGA_REGION_1","value":"` + iface + `"}],"resources":{"limits":{"` + region + `":"1"},"requests":{"` + region + `":"1"}}}]}}`

func TestAPodThatCameBeforeTheNewsOfItsMappingIsNotRefused(t *testing.T) {
	for _, tt := range []struct {
		name    string
		path    string
		pod     string
		has     []fpga.Entry
		asked   []fpga.Sought
		allowed bool
		says    string
	}{
		{"translated", MutatePath, podOf("n3o"), []fpga.Entry{late("n3o", "region", nlb3)}, []fpga.Sought{{Name: "n3o"}}, true, `"patch"`},
		{
			"checked", CheckPath, translatedPod,
			[]fpga.Entry{late("n3o", "region", nlb3)},
			[]fpga.Sought{{Interface: iface, Function: nlb3}},
			true, "AcceleratorFunction/n3o",
		},
		{"not there", MutatePath, podOf("n3o"), nil, []fpga.Sought{{Name: "n3o"}}, false, "namespace ns1 has no AcceleratorFunction or FpgaRegion named n3o (it has none)"},
		{
			"not there, checked", CheckPath, translatedPod, nil,
			[]fpga.Sought{{Interface: iface, Function: nlb3}},
			false,
			"no mapping of namespace ns1 leads to " + region + " (and 1 more)",
		},
		{
			"there and leading nowhere", MutatePath, podOf("odd"),
			[]fpga.Entry{late("odd", "afoo", nlb3)},
			[]fpga.Sought{{Name: "odd"}},
			false,
			"is invalid: mode",
		},
		{"one of two not there", MutatePath, podOf("n3o", "region-"+iface[1:]+"g"), nil, []fpga.Sought{{Name: "n3o"}, {Name: "region-" + iface[1:] + "g"}}, false, "n3o"},
		{"not an FPGA pod", MutatePath, `{}`, nil, nil, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &finder{has: tt.has}
			s := start(t, tables{})
			s.handler.finder = f
			status, answer := s.post(t, tt.path, reviewOf(tt.pod))
			if r := parse(t, []byte(answer)); status != http.StatusOK || r.Allowed != tt.allowed || !strings.Contains(answer, tt.says) {
				t.Errorf("%d %s; want %q", status, answer, tt.says)
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			var want [][]fpga.Sought
			if tt.asked != nil {
				want = [][]fpga.Sought{tt.asked}
			}
			if diff := cmp.Diff(want, f.asked); diff != "" {
				t.Errorf("sought (-want +got):\n%s", diff)
			}
			if f.ctx == nil {
				return
			}
			select {
			case <-f.ctx.Done():
			case <-time.After(10 * time.Second):
				t.Error("who asks is not told that the request is over")
			}
		})
	}
}

func TestWhatIsKnownIsNotAskedFor(t *testing.T) {
	f := &finder{}
	s := start(t, ns1())
	s.handler.finder = f
	for path, pod := range map[string]string{MutatePath: podOf("n3o", "n0o"), CheckPath: translatedPod} {
		if _, answer := s.post(t, path, reviewOf(pod)); !parse(t, []byte(answer)).Allowed {
			t.Errorf("%s: %s", path, answer)
		}
	}
	s.post(t, CheckPath, reviewOf(podOf("none"))) // denied, whatever there is
	if len(f.asked) > 0 {
		t.Errorf("asked for %v", f.asked)
	}
}

// The watch may be quicker than the answer, or the only one to tell.
func TestNewsThatComeWhileItAsksCount(t *testing.T) {
	known := map[string]*fpga.Table{}
	s := start(t, tables{of: known})
	s.handler.finder = &finder{then: func() { known["ns1"] = ns1().of["ns1"] }}
	if _, answer := s.post(t, MutatePath, reviewOf(podOf("n3o"))); !parse(t, []byte(answer)).Allowed {
		t.Error(answer)
	}
}

func TestAMistakeInAskingDeniesThePod(t *testing.T) {
	s := start(t, tables{})
	s.handler.finder = &finder{then: func() { panic("mistake") }}
	_, answer := s.post(t, MutatePath, reviewOf(podOf("n3o")))
	if r := parse(t, []byte(answer)); r.Allowed || r.Result.Code != codeMistake || s.counts.panics != 1 {
		t.Errorf("%s, %d panics", answer, s.counts.panics)
	}
}

// Reviews from files ask nobody.
func TestWithoutAFinderTheTablesAreAllThereIs(t *testing.T) {
	answer, outcome, err := Review([]byte(reviewOf(podOf("n3o"))), false, tables{}, fpga.Options{})
	if err != nil || outcome.Decision != Denied || parse(t, answer).Allowed {
		t.Errorf("%s, %+v, %v", answer, outcome, err)
	}
}
