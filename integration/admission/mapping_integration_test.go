//go:build integration

package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/inlay-project/inlay/integration/apiserver"
)

// client is a fast way to the API server, for what is measured or repeated.
func (s *System) client(t *testing.T) *kubernetes.Clientset {
	t.Helper()
	c, err := kubernetes.NewForConfig(s.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// asking is a pod whose container asks for one unit; "" is nothing.
func asking(name string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "p-"}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
	if name != "" {
		one := corev1.ResourceList{corev1.ResourceName("fpga.intel.com/" + name): resource.MustParse("1")}
		p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Limits: one, Requests: one}
	}
	return p
}

// dryRun tells what would become of a pod.
func dryRun(ctx context.Context, c kubernetes.Interface, ns string, p *corev1.Pod) (*corev1.Pod, error) {
	return c.CoreV1().Pods(ns).Create(ctx, p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

func TestMappingsTakeEffectWithinASecond(t *testing.T) {
	t.Parallel()
	s := shared(t)
	client := s.client(t)
	ns := s.Namespace(t)
	path := "/apis/fpga.intel.com/v2/namespaces/" + ns + "/acceleratorfunctions"
	mapping := func(afu string) []byte {
		return fmt.Appendf(nil, `{"apiVersion":"fpga.intel.com/v2","kind":"AcceleratorFunction","metadata":{"name":"n3o"},
			"spec":{"afuId":%q,"interfaceId":%q,"mode":"region"}}`, afu, iface)
	}
	to := client.RESTClient()
	// Want is the function that a pod gets, "" if it is refused, at the latest a second after the write was begun.
	settles := func(took func(string, time.Duration), what, want string, write *rest.Request) {
		t.Helper()
		began := time.Now()
		if err := write.Do(t.Context()).Error(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for _, r := range s.Running() {
			apiserver.Eventually(t, waiting, what, func() error {
				answer, err := r.ask(t.Context(), ns, *asking("n3o"))
				if err == nil && (answer.Allowed != (want != "") || !strings.Contains(string(answer.Patch), want)) {
					err = fmt.Errorf("allowed: %v, patch: %s", answer.Allowed, answer.Patch)
				}
				return err
			})
			after := time.Since(began)
			t.Logf("%s: in effect at %s %v after the write was begun", what, r.Name(), after.Round(100*time.Microsecond))
			took(what+" at "+r.Name(), after)
		}
		p, err := dryRun(t.Context(), client, ns, asking("n3o"))
		if (err == nil) != (want != "") || err == nil && p.Spec.Containers[0].Env[0].Value != want {
			t.Errorf("%s: the API server answers %v, %v", what, p.Spec.Containers, err)
		}
	}
	withinASecond(t, func(took func(string, time.Duration)) {
		settles(took, "created", nlb3, to.Post().AbsPath(path).Body(mapping(nlb3)))
		settles(took, "changed", nlb0, to.Patch(types.MergePatchType).AbsPath(path, "n3o").Body(mapping(nlb0)))
		settles(took, "deleted", "", to.Delete().AbsPath(path, "n3o"))
		settles(took, "created again", nlb3, to.Post().AbsPath(path).Body(mapping(nlb3)))
		settles(took, "deleted again", "", to.Delete().AbsPath(path, "n3o"))
	})
}

func TestInvalidMappingsAreRefused(t *testing.T) {
	t.Parallel()
	s := shared(t)
	ns := s.Namespace(t)
	for name, c := range map[string]struct{ mapping, says string }{
		"a mode that only begins like one": {function("m", nlb0, iface, "afoo"), `Unsupported value: "afoo": supported values: "af", "region"`},
		"an id with dashes":                {function("m", "d8424dc4-a4a3-c413-f89e-433683f9040b", iface, "af"), "afuId must be 8 to 40 lowercase hex digits, without dashes"},
		"upper case":                       {function("m", strings.ToUpper(nlb0), iface, "af"), "afuId must be 8 to 40 lowercase hex digits"},
		"a short interface id":             {function("m", nlb0, "69528db6", "region"), "interfaceId must be 32 lowercase hex digits"},
		"an AOCX hash in mode af":          {function("m", aocx, iface, "af"), "in mode af the afuId must be 32 hex digits"},
		"a card with an odd id":            {card("m", iface[1:]), "interfaceId must be 32 lowercase hex digits"},
		"a name that no resource can have": {card(strings.Repeat("m", 64), iface), "the name must have at most 63 characters"},
		"the name of another resource":     {card("region-"+other, iface), "the name is that of another resource"},
		"a very long id":                   {function("m", strings.Repeat("a", 2000), iface, "region"), "afuId"},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.Admin().Try(t.Context(), c.mapping, "create", "-n", ns, "-f", "-")
			if r.Err == nil || !strings.Contains(r.Stderr, c.says) {
				t.Errorf("got %v, want an error that says %q", r.Err, c.says)
			}
			t.Log(strings.TrimSpace(r.Stderr))
		})
	}
	t.Run("a good one made bad", func(t *testing.T) {
		s.Apply(t, function("good", nlb0, iface, "af"), "-n", ns)
		r := s.Admin().Try(t.Context(), function("good", nlb0, iface, "afoo"), "apply", "-n", ns, "-f", "-")
		if r.Err == nil {
			t.Error("the change was accepted")
		}
	})
}

func TestKubectlShowsMappings(t *testing.T) {
	t.Parallel()
	s := shared(t)
	ns := s.namespace(t, usual()+function("b20f", nlb0, other, "region")+card("b20", other))
	s.inStep(t, ns)
	rows := func(text string) [][]string {
		var all [][]string
		for line := range strings.Lines(text) {
			all = append(all, strings.Fields(line))
		}
		return all
	}
	for _, c := range []struct {
		args []string
		want [][]string // without the age
	}{
		{[]string{"get", "af"}, [][]string{
			{"NAME", "MODE", "INTERFACE", "AFU", "READY", "REASON"},
			{"b20f", "region", other, nlb0, "True", "LeadsToResource"},
			{"n0o", "region", iface, nlb0, "True", "LeadsToResource"},
			{"n0p", "af", iface, nlb0, "True", "LeadsToResource"},
			{"n3o", "region", iface, nlb3, "True", "LeadsToResource"},
		}},
		{[]string{"get", "fpga"}, [][]string{
			{"NAME", "INTERFACE", "READY", "REASON"}, {"a10", iface, "True", "LeadsToResource"}, {"b20", other, "True", "LeadsToResource"},
		}},
		{[]string{"get", "fpga", "a10", "-o", "wide"}, [][]string{
			{"NAME", "INTERFACE", "READY", "REASON", "RESOURCE"}, {"a10", iface, "True", "LeadsToResource", region},
		}},
		{[]string{"get", "af", "--field-selector", "spec.interfaceId=" + other}, [][]string{
			{"NAME", "MODE", "INTERFACE", "AFU", "READY", "REASON"}, {"b20f", "region", other, nlb0, "True", "LeadsToResource"},
		}},
		{[]string{"get", "af", "--field-selector", "spec.afuId=" + nlb3}, [][]string{
			{"NAME", "MODE", "INTERFACE", "AFU", "READY", "REASON"}, {"n3o", "region", iface, nlb3, "True", "LeadsToResource"},
		}},
		{[]string{"get", "fpga", "--field-selector", "spec.interfaceId!=" + other}, [][]string{
			{"NAME", "INTERFACE", "READY", "REASON"}, {"a10", iface, "True", "LeadsToResource"},
		}},
	} {
		got := rows(s.Kubectl(t, append(c.args, "-n", ns)...))
		for i := range got {
			got[i] = got[i][:len(got[i])-1]
		}
		if !slices.EqualFunc(got, c.want, slices.Equal[[]string]) {
			t.Errorf("kubectl %v: %v", c.args, got)
		}
	}
}

func TestMappingsOfOneNameConflict(t *testing.T) {
	t.Parallel()
	s := shared(t)
	ns := s.namespace(t, function("both", nlb0, iface, "region"))
	time.Sleep(1100 * time.Millisecond) // the API server keeps the age in seconds
	s.Apply(t, card("both", other), "-n", ns)
	condition := func(object, want string) {
		t.Helper()
		apiserver.Eventually(t, leaseLimit, object, func() error {
			r := s.Admin().Try(t.Context(), "", "get", object, "-n", ns, "-o",
				`jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].reason} {.status.resource}`)
			if got := strings.TrimSpace(r.Stdout); got != want {
				return fmt.Errorf("the condition is %q, want %q", got, want)
			}
			return nil
		})
	}
	condition("fpga/both", "False NameConflict")
	condition("af/both", "True LeadsToResource "+region)
	s.eventSays(t, ns, "fpgaregion/both", "NameConflict", "both")
	if got := containers(s.create(t, ns, manifest("older", "{containers: [{name: c, image: i, resources: {limits: {fpga.intel.com/both: 1}}}]}"))); got["c"].Limits[region] != "1" {
		t.Errorf("the older mapping does not have the name: %v", got)
	}
	s.Kubectl(t, "delete", "af/both", "-n", ns)
	condition("fpga/both", "True LeadsToResource "+otherR)
	apiserver.Eventually(t, waiting, "the mapping that is left", func() error {
		p, err := dryRun(t.Context(), s.client(t), ns, asking("both"))
		if err == nil && containers(*p)["c"].Limits[otherR] != "1" {
			err = fmt.Errorf("the container gets %v", containers(*p)["c"])
		}
		return err
	})
}
