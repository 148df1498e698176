//go:build integration

package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/inlay-project/inlay/integration/apiserver"
)

// The tests of this file take replicas away, so they do not run beside others of the shared system: they are not
// parallel, and a test that is not runs before all that are.

func TestWebhookDown(t *testing.T) {
	s := shared(t)
	ns := s.namespace(t, usual())
	for _, r := range s.Running() {
		if err := s.Kill(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	s.Proxy.WaitReady(t, 0)

	for name, spec := range map[string]string{
		"a pod that asks for an FPGA":            "{containers: [{name: c, image: i, resources: {limits: {fpga.intel.com/n3o: 1}}}]}",
		"an init container that does":            "{initContainers: [{name: f, image: i, resources: {limits: {" + region + ": 1}}}], containers: [{name: c, image: i}]}",
		"a pod that sets a reserved variable":    "{containers: [{name: c, image: i, env: [{name: FPGA_AFU_1, value: x}]}]}",
		"a pod that takes them from a ConfigMap": "{containers: [{name: c, image: i, envFrom: [{prefix: FPGA_REGION_, configMapRef: {name: m}}]}]}",
	} {
		r := s.Admin().Try(t.Context(), manifest("p", spec), "create", "-n", ns, "-f", "-")
		if r.Err == nil || !strings.Contains(r.Stderr, `failed calling webhook "fpga.mutator.webhooks.intel.com"`) || !strings.Contains(r.Stderr, "connection refused") {
			t.Errorf("%s: got %v, want a refusal that names the webhook and the cause", name, r.Err)
		}
		t.Logf("%s: %s", name, strings.TrimSpace(r.Stderr))
	}
	for name, spec := range map[string]string{
		"a plain pod":                  "{containers: [{name: c, image: i}]}",
		"a pod with similar names":     "{containers: [{name: c, image: i, env: [{name: FPGA_MODE, value: x}], resources: {limits: {fpga.intel.community/n3o: 1}}}]}",
		"a pod with init containers":   "{initContainers: [{name: f, image: i}], containers: [{name: c, image: i, envFrom: [{configMapRef: {name: m}}]}]}",
		"a pod with its own resources": "{resources: {limits: {cpu: 1}}, containers: [{name: c, image: i}]}",
	} {
		if r := s.Admin().Try(t.Context(), manifest("p-"+strings.ReplaceAll(name, " ", "-"), spec), "create", "-n", ns, "-f", "-"); r.Err != nil {
			t.Errorf("%s: %v", name, r.Err)
		}
	}
	t.Run("the webhook's own pods", func(t *testing.T) {
		var template corev1.PodTemplateSpec
		text := s.Kubectl(t, "get", "deployment", Service, "-n", Namespace, "-o", "jsonpath={.spec.template}")
		if err := json.Unmarshal([]byte(text), &template); err != nil {
			t.Fatal(err)
		}
		pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "own-"}, Spec: template.Spec}
		if _, err := dryRun(t.Context(), s.client(t), Namespace, &pod); err != nil {
			t.Error(err)
		}
	})
	// The match conditions have a budget of CEL cost, and a pod that exceeds it would be refused.
	t.Run("a pod with thousands of variables", func(t *testing.T) {
		for _, prefix := range []string{"V", "FPGA_V"} {
			pod := asking("")
			for i := range 7000 { // more do not fit into etcd
				pod.Spec.Containers[0].Env = append(pod.Spec.Containers[0].Env, corev1.EnvVar{Name: fmt.Sprintf("%s%d", prefix, i), Value: "x"})
			}
			if _, err := s.client(t).CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
				t.Errorf("names that begin with %s: %.300v", prefix, err)
			}
		}
		pod := asking("")
		for i := range 500 {
			c := corev1.Container{Name: fmt.Sprintf("c%d", i), Image: "i", Resources: asking("").Spec.Containers[0].Resources}
			c.Env = []corev1.EnvVar{{Name: "FPGA_X", Value: "x"}, {Name: "FPGA_Y", Value: "y"}}
			pod.Spec.Containers = append(pod.Spec.Containers, c)
		}
		if _, err := s.client(t).CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Errorf("500 containers: %.300v", err)
		}
	})

	began := time.Now()
	restore(t, s)
	apiserver.Eventually(t, waiting, "the first pod after the outage", func() error {
		_, err := dryRun(t.Context(), s.client(t), ns, asking("n3o"))
		return err
	})
	t.Logf("back %v after the start of two replicas", time.Since(began).Round(time.Millisecond))
}

// load creates pods until it is stopped.
type load struct {
	stop func()
	mu   sync.Mutex
	good int
	bad  []failure
}

type failure struct {
	at  time.Time
	err error
}

// startLoad has workers create pods, as a dry run, one after the other.
func startLoad(t *testing.T, client kubernetes.Interface, ns string, workers int) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{}
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for ctx.Err() == nil {
				p, err := dryRun(ctx, client, ns, asking("n3o"))
				if errors.Is(err, context.Canceled) {
					return
				}
				if err == nil && len(p.Spec.Containers[0].Env) != 2 {
					err = fmt.Errorf("admitted untranslated: %v", p.Spec.Containers[0])
				}
				l.mu.Lock()
				if err == nil {
					l.good++
				} else {
					l.bad = append(l.bad, failure{time.Now(), err})
				}
				l.mu.Unlock()
				time.Sleep(5 * time.Millisecond) // the machine is the tests' as well
			}
		})
	}
	l.stop = func() { cancel(); all.Wait() }
	t.Cleanup(l.stop)
	return l
}

// await waits until n more requests were answered well.
func (l *load) await(t *testing.T, n int) {
	t.Helper()
	l.mu.Lock()
	want := l.good + n
	l.mu.Unlock()
	apiserver.Eventually(t, 2*waiting, fmt.Sprintf("%d more pods", n), func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.good < want {
			return fmt.Errorf("%d were admitted, %d not; the last ones: %v", l.good, len(l.bad), l.bad[max(0, len(l.bad)-3):])
		}
		return nil
	})
}

func TestReplicaEndsUnderLoad(t *testing.T) {
	s := shared(t)
	ns := s.namespace(t, usual())
	client := s.client(t)

	t.Run("killed: creations go on", func(t *testing.T) {
		l := startLoad(t, client, ns, 6)
		l.await(t, 100)
		began := time.Now()
		withinASecond(t, func(took func(string, time.Duration)) {
			// The API server may talk to one of them only: each is killed once.
			for i, r := range s.Running() {
				took(fmt.Sprintf("pods are admitted after replica %d is out", i), s.killUnder(t, l, r))
			}
		})
		l.stop()
		t.Logf("%d pods in %v", l.good, time.Since(began).Round(time.Millisecond))
	})
	t.Run("terminated: not one request fails", func(t *testing.T) {
		l := startLoad(t, client, ns, 6)
		l.await(t, 100)
		// As in a rolling update: a new one is ready before an old one goes.
		for _, r := range s.Running() {
			if _, err := s.StartReplica(); err != nil {
				t.Fatal(err)
			}
			if err := s.AwaitReady(t.Context(), replicas+1); err != nil {
				t.Fatal(err)
			}
			if err := s.Stop(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			l.await(t, 50)
		}
		l.stop()
		for _, f := range l.bad {
			t.Errorf("a pod was refused: %v", f.err)
		}
		t.Logf("%d pods were admitted", l.good)
	})
}

// killUnder kills a replica beside which there is another one, and returns for how long pods are refused once it is out.
func (s *System) killUnder(t *testing.T, l *load, r *Replica) time.Duration {
	t.Helper()
	if _, err := s.StartReplica(); err != nil {
		t.Fatal(err)
	}
	if err := s.AwaitReady(t.Context(), replicas+1); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	if err := s.Kill(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	s.Proxy.WaitReady(t, replicas)
	noticed := time.Now() // as on a cluster, connections go to a dead replica until a probe has failed
	l.await(t, 100)
	l.mu.Lock()
	defer l.mu.Unlock()
	last := killed
	for _, f := range l.bad {
		if f.at.After(last) {
			last = f.at
		}
		// What was in flight when the process died cannot be answered; it must not be admitted either.
		if !apierrors.IsInternalError(f.err) || !strings.Contains(f.err.Error(), "failed calling webhook") {
			t.Errorf("an unexpected failure: %v", f.err)
		}
	}
	t.Logf("%d pods were admitted, %d were not, the last of them %v after the kill; it was out after %v", l.good, len(l.bad),
		last.Sub(killed).Round(time.Millisecond), noticed.Sub(killed).Round(time.Millisecond))
	return max(0, last.Sub(noticed))
}

func TestFiveHundredPodsAtOnce(t *testing.T) {
	s := shared(t)
	ns := s.namespace(t, usual())
	client := s.client(t)
	const pods = 500
	began := time.Now()
	var repeated atomic.Int64
	group, ctx := errgroup.WithContext(t.Context())
	for i := range pods {
		group.Go(func() error {
			pod := asking([]string{"n3o", "n0o", "n0p", "a10"}[i%4])
			pod.Name = fmt.Sprintf("p%d", i) // so that none is made twice
			again, err := insist(ctx, func() error {
				_, err := client.CoreV1().Pods(ns).Create(ctx, pod, metav1.CreateOptions{})
				return err
			})
			repeated.Add(int64(again))
			if again > 0 && apierrors.IsAlreadyExists(err) {
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d pods created in parallel in %v; %d requests were done again, for answers that came too late", pods,
		time.Since(began).Round(time.Millisecond), repeated.Load())
	list, err := client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, p := range list.Items {
		c := containers(p)["c"]
		count[fmt.Sprint(c.Limits, c.Env)]++
	}
	for _, want := range []seen{
		asks([]string{"FPGA_AFU_1=" + nlb3, "FPGA_REGION_1=" + iface}, region, "1"),
		asks([]string{"FPGA_AFU_1=" + nlb0, "FPGA_REGION_1=" + iface}, region, "1"),
		asks(nil, nlb0AF, "1"), asks(nil, region, "1"),
	} {
		if n := count[fmt.Sprint(want.Limits, want.Env)]; n != pods/4 {
			t.Errorf("%d pods have %v, want %d; there are %v", n, want, pods/4, count)
		}
	}
}

func TestReplicaWithoutMappingsIsNotReady(t *testing.T) {
	s := shared(t)
	// An account without any right: it never gets to know the mappings, nor a certificate.
	ns := s.Namespace(t)
	r, err := s.StartReplica("--kubeconfig", s.ServiceAccount(t, ns, "default", apiserver.Bound{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background(), r); err != nil {
			t.Error(err)
		}
	})
	apiserver.Eventually(t, waiting, "health", func() error {
		status, body, err := get(t.Context(), "http://"+r.HTTP+"/healthz")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("/healthz: %d %s", status, body)
		}
		return err
	})
	status, body, err := get(t.Context(), "http://"+r.HTTP+"/readyz")
	if err != nil || status != http.StatusServiceUnavailable || !strings.Contains(body, "AcceleratorFunctions") {
		t.Errorf("/readyz: %d %q %v, want 503 that says what is missing", status, body, err)
	}
	t.Logf("/readyz: %s", strings.TrimSpace(body))
}
