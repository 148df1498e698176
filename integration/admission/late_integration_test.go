//go:build integration

package admission

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// lookups is how many mappings the API server was asked for one by one, or by their ids in one namespace, so far.
func (s *System) lookups(t *testing.T) int {
	t.Helper()
	n := 0
	for _, m := range regexp.MustCompile(`(?m)^apiserver_request_total\{.*resource="(?:acceleratorfunctions|fpgaregions)",scope="(?:resource|namespace)",subresource="",verb="(?:GET|LIST)",.*\} (\S+)$`).
		FindAllStringSubmatch(s.Kubectl(t, "get", "--raw", "/metrics"), -1) {
		count, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		n += int(count)
	}
	return n
}

// What a mapping and a pod in one file come to, whatever the mapping is, on replicas that have never heard of it.
func TestMappingAndPodOfOneFile(t *testing.T) {
	s := shared(t)
	client := s.client(t)
	ns := s.Namespace(t)
	kinds := []struct {
		mapping func(name string) string
		want    map[string]string
	}{
		{func(n string) string { return function(n, nlb3, iface, "region") }, map[string]string{region: "1"}},
		{func(n string) string { return function(n, nlb0, iface, "af") }, map[string]string{nlb0AF: "1"}},
		{func(n string) string { return card(n, other) }, map[string]string{otherR: "1"}},
	}
	const times = 50
	refused, excused := 0, excuses{s: s}
	for i := range times {
		kind, name := kinds[i%len(kinds)], fmt.Sprintf("m%d", i)
		ns := ns
		if i%5 == 0 {
			ns = s.Namespace(t) // one without any mapping
		}
		file := kind.mapping(name) + "---\n" + manifest("p-"+name, "{containers: [{name: c, image: i, resources: {limits: {fpga.intel.com/"+name+": 1}}}]}")
		err := excused.accept(func() error { return s.Admin().Try(t.Context(), file, "apply", "-n", ns, "-f", "-").Err })
		if err != nil {
			refused++
			t.Errorf("%d: %v", i, err)
			continue
		}
		pod, err := client.CoreV1().Pods(ns).Get(t.Context(), "p-"+name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := containers(*pod)["c"].Limits; fmt.Sprint(got) != fmt.Sprint(kind.want) {
			t.Errorf("%d: the container gets %v, want %v", i, got, kind.want)
		}
	}
	t.Logf("kubectl apply: %d of %d refused", refused, times)
	excused.few(t, times)
}

// own makes a mapping to ids that no other has, and returns once the API server says that it is stored.
func own(t *testing.T, client *kubernetes.Clientset, ns, name string, i int) (afu, id string) {
	t.Helper()
	afu, id = fmt.Sprintf("%040x", i), fmt.Sprintf("%032x", i)
	mapping := fmt.Appendf(nil, `{"apiVersion":"fpga.intel.com/v2","kind":"AcceleratorFunction","metadata":{"name":%q},
		"spec":{"afuId":%q,"interfaceId":%q,"mode":"region"}}`, name, afu, id)
	err := client.RESTClient().Post().AbsPath("/apis/fpga.intel.com/v2/namespaces/" + ns + "/acceleratorfunctions").
		Body(mapping).Do(t.Context()).Error()
	if err != nil {
		t.Fatal(err)
	}
	return afu, id
}

// A client that is quicker than kubectl: the pod is on its way when the answer about the mapping is there.
func TestPodRightAfterItsMapping(t *testing.T) {
	s := shared(t)
	client := s.client(t)
	ns := s.Namespace(t)
	const times = 200
	refused, excused := 0, excuses{s: s}
	var took []time.Duration
	for i := range times {
		name := fmt.Sprintf("q%d", i)
		own(t, client, ns, name, i)
		err := excused.accept(func() error {
			began := time.Now()
			_, err := client.CoreV1().Pods(ns).Create(t.Context(), asking(name), metav1.CreateOptions{})
			took = append(took, time.Since(began))
			return err
		})
		if err != nil {
			refused++
			t.Errorf("%d: %v", i, err)
		}
	}
	slices.Sort(took)
	t.Logf("%d of %d refused; median %v, p99 %v", refused, times,
		took[len(took)/2].Round(100*time.Microsecond), took[len(took)*99/100].Round(100*time.Microsecond))
	excused.few(t, times)
}

func TestAWrongNameIsRefusedQuicklyAndLoadsNobody(t *testing.T) {
	s := shared(t)
	client := s.client(t)
	ns := s.namespace(t, usual())
	s.inStep(t, ns) // who writes status reads mappings too
	refused := func(name string) (took time.Duration, err error) {
		_, err = insist(t.Context(), func() error {
			began := time.Now()
			_, err := client.CoreV1().Pods(ns).Create(t.Context(), asking(name), metav1.CreateOptions{})
			took += time.Since(began)
			return err
		})
		if err == nil || !strings.Contains(err.Error(), "has no AcceleratorFunction or FpgaRegion named "+name+" (it has a10, n0o, n0p, n3o)") {
			return took, fmt.Errorf("%s: %w", name, err)
		}
		return took, nil
	}
	for _, kind := range []struct {
		name string
		of   func(i int) string
		most time.Duration
	}{
		{"one name", func(int) string { return "wrong" }, 250 * time.Millisecond},
		{"a name each", func(i int) string { return fmt.Sprintf("wrong-%d", i) }, 500 * time.Millisecond},
	} {
		var took []time.Duration
		before := s.lookups(t)
		for i := range 300 {
			d, err := refused(kind.of(i))
			if err != nil {
				t.Fatal(err)
			}
			took = append(took, d)
		}
		slices.Sort(took)
		p90, p99 := took[len(took)*90/100], took[len(took)*99/100]
		t.Logf("%s: refused in %v, p90 %v, p99 %v; the API server was asked for mappings %d times", kind.name,
			took[len(took)/2].Round(100*time.Microsecond), p90.Round(100*time.Microsecond), p99.Round(100*time.Microsecond), s.lookups(t)-before)
		if p90 > kind.most { // the rest may be the machine's
			t.Errorf("%s: p90 is %v", kind.name, p90)
		}
	}
	t.Run("a storm of 500 pods", func(t *testing.T) {
		before, began := s.lookups(t), time.Now()
		var group errgroup.Group
		group.SetLimit(100)
		for range 500 {
			group.Go(func() error { _, err := refused("storm"); return err })
		}
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
		took := time.Since(began)
		n, most := s.lookups(t)-before, 2*replicas*(2+int(took/time.Second))
		t.Logf("500 pods were refused in %v; the API server was asked for mappings %d times", took.Round(time.Millisecond), n)
		if n > most {
			t.Errorf("%d requests, want at most %d", n, most)
		}
	})
}

// What is late at one replica is late at the other in its own time, and the check is either's.
func TestTheCheckKnowsWhatTheTranslationDid(t *testing.T) {
	s := shared(t)
	client := s.client(t)
	ns := s.Namespace(t)
	const times = 50
	excused := excuses{s: s}
	for i := range times {
		name := fmt.Sprintf("r%d", i)
		afu, id := own(t, client, ns, name, i)
		pod := asking("region-" + id)
		pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "FPGA_AFU_1", Value: afu}, {Name: "FPGA_REGION_1", Value: id}}
		for _, r := range s.Running() {
			err := excused.accept(func() error {
				answer, err := r.askAt(t.Context(), "/pods/check", ns, *pod)
				if err == nil && !answer.Allowed {
					err = errors.New(answer.Result.Message)
				}
				return err
			})
			if err != nil {
				t.Errorf("%d: %s: %v", i, r.Name(), err)
			}
		}
	}
	excused.few(t, times*replicas)
	pod := asking("region-" + iface)
	for _, r := range s.Running() {
		answer, err := r.askAt(t.Context(), "/pods/check", ns, *pod)
		if err != nil || answer.Allowed || answer.Result.Code != http.StatusForbidden {
			t.Errorf("a region that no mapping gives: %s: %+v, %v", r.Name(), answer, err)
		}
	}
}
