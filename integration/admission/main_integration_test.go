//go:build integration

package admission

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/inlay-project/inlay/integration/apiserver"
)

// suite is what the tests of one run share; each part is made at its first use.
type suite struct {
	program func() (string, error)
	system  func() (*System, error)
	close   func(failed bool) error
}

var tests suite

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the admission tests listen on port 443 of a Service's address and need root")
		os.Exit(1)
	}
	removeAbandoned()
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", dirPrefix, os.Getpid()))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	tests = newSuite(dir)
	code := m.Run()
	if err := tests.close(code != 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// dirPrefix begins the name of the folder of a run; the id of its test process follows.
const dirPrefix = "inlay-admission-"

// removeAbandoned removes the folders of test processes that were killed.
func removeAbandoned() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*-*"))
	for _, dir := range dirs {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(dir), dirPrefix+"%d-", &pid); err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			_ = os.RemoveAll(dir) // a race with another run's sweep is as good
		}
	}
}

func newSuite(dir string) suite {
	const limit = 20 * time.Minute // of compiling Kubernetes, once on a machine
	s := suite{close: func(bool) error { return nil }}
	s.program = sync.OnceValues(func() (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		return Build(ctx, os.Getenv("INLAY_BIN"), dir)
	})
	s.system = sync.OnceValues(func() (*System, error) {
		program, err := s.program()
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		c, err := apiserver.New(ctx, apiserver.Options{Controllers: []string{"replicaset-controller"}})
		if err != nil {
			return nil, err
		}
		tests.close = func(failed bool) error {
			if failed {
				fmt.Fprintln(os.Stderr, c.KeepLogs("admission"))
			}
			return c.Close()
		}
		if err := storeOldMappings(ctx, c); err != nil {
			return nil, err
		}
		system, err := Install(ctx, c, program)
		if err != nil {
			return nil, err
		}
		tests.close = func(failed bool) error {
			lacking := system.Forbidden()
			if failed || len(lacking) > 0 {
				fmt.Fprintln(os.Stderr, c.KeepLogs("admission"))
			}
			if err := system.Close(); err != nil || len(lacking) == 0 {
				return err
			}
			return fmt.Errorf("rights that the webhook wanted and does not have:\n%s", strings.Join(lacking, ""))
		}
		return system, nil
	})
	return s
}

// replicas is how many replicas the shared system has while no test takes one away; deploy/ has as many.
const replicas = 2

// shared gives the system of all tests that do not need one of their own, with its replicas ready.
func shared(t *testing.T) *System {
	t.Helper()
	s, err := tests.system()
	if err != nil {
		t.Fatal(err)
	}
	restore(t, s)
	return s
}

var restoring sync.Mutex

// restore starts the replicas that a test has taken away.
func restore(t *testing.T, s *System) {
	t.Helper()
	restoring.Lock()
	defer restoring.Unlock()
	if err := s.StartReplicas(t.Context(), max(0, replicas-len(s.Running()))); err != nil {
		t.Fatal(err)
	}
}

// The ids of the tests' mappings.
const (
	iface  = "69528db6eb31577a8c3668f9faa081f6"
	nlb0   = "d8424dc4a4a3c413f89e433683f9040b"
	nlb3   = "f7df405cbd7acf7222f144b0b93acd18"
	region = "fpga.intel.com/region-" + iface
	nlb0AF = "fpga.intel.com/af-695.d84.aVKNtusxV3qMNmj5-qCB9thCTcSko8QT-J5DNoP5BAs"
	other  = "bfac4d851ee856fe8c95865ce1bbaa2d"
	otherR = "fpga.intel.com/region-" + other
	aocx   = "40007c0623210742000ebc58df6f5343e668b03a"

	// waiting is for what a test has a right to, on a machine that is busy; leaseLimit for what the leader does.
	waiting    = 10 * time.Second
	leaseLimit = 40 * time.Second
)

// function and card are the two kinds of mappings, YAML.
func function(name, afu, card, mode string) string {
	return fmt.Sprintf("---\n{apiVersion: fpga.intel.com/v2, kind: AcceleratorFunction, metadata: {name: %s}, spec: {afuId: %q, interfaceId: %q, mode: %s}}\n",
		name, afu, card, mode)
}

func card(name, id string) string {
	return fmt.Sprintf("---\n{apiVersion: fpga.intel.com/v2, kind: FpgaRegion, metadata: {name: %s}, spec: {interfaceId: %q}}\n", name, id)
}

// usual are the mappings of most tests: two functions of mode region, one of them in mode af too, and a card.
func usual() string {
	return function("n3o", nlb3, iface, "region") + function("n0o", nlb0, iface, "region") + function("n0p", nlb0, iface, "af") + card("a10", iface)
}

// namespace makes a namespace with the mappings, and returns when all replicas know them.
func (s *System) namespace(t *testing.T, mappings string) string {
	t.Helper()
	ns := s.Namespace(t)
	if mappings == "" {
		return ns
	}
	s.Apply(t, mappings, "-n", ns)
	var pod corev1.Pod
	for _, name := range regexp.MustCompile(`metadata: {name: (\S+)}`).FindAllStringSubmatch(mappings, -1) {
		c := asking(name[1]).Spec.Containers[0]
		c.Name = fmt.Sprintf("c%d", len(pod.Spec.Containers))
		pod.Spec.Containers = append(pod.Spec.Containers, c)
	}
	for _, r := range s.Running() {
		apiserver.Eventually(t, waiting, "mappings of "+ns+" in "+r.Name(), func() error { return r.allows(t.Context(), ns, pod) })
	}
	return ns
}

// allows tells why a replica refuses a pod.
func (r *Replica) allows(ctx context.Context, ns string, pod corev1.Pod) error {
	answer, err := r.ask(ctx, ns, pod)
	if err == nil && !answer.Allowed {
		err = errors.New(answer.Result.Message)
	}
	return err
}

// ask asks a replica itself, past the API server, which keeps its connections and may know one replica only.
func (r *Replica) ask(ctx context.Context, ns string, pod corev1.Pod) (*admissionv1.AdmissionResponse, error) {
	return r.askAt(ctx, "/pods", ns, pod)
}

// askAt asks at one of the two paths.
func (r *Replica) askAt(ctx context.Context, path, ns string, pod corev1.Pod) (*admissionv1.AdmissionResponse, error) {
	object, err := json.Marshal(pod)
	if err != nil {
		return nil, err
	}
	question, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: "test", Namespace: ns, Operation: admissionv1.Create, Object: runtime.RawExtension{Raw: object},
			Kind:     metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
			Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
		},
	})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+r.Address+path, bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // any certificate will do here
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil || review.Response == nil {
		return nil, fmt.Errorf("%s: %s", answer.Status, body)
	}
	return review.Response, nil
}

// inStep waits until the status of all mappings of a namespace speaks of what is in their spec. It is written by one
// replica, and if that was killed by another when the Lease has run out.
func (s *System) inStep(t *testing.T, ns string) {
	t.Helper()
	apiserver.Eventually(t, leaseLimit, "status of the mappings of "+ns, func() error {
		r := s.Admin().Try(t.Context(), "", "get", "af,fpga", "-n", ns,
			"-o", `jsonpath={range .items[*]}{.metadata.generation}={.status.observedGeneration} {end}`)
		for _, pair := range strings.Fields(r.Stdout) {
			if is, seen, _ := strings.Cut(pair, "="); is != seen {
				return fmt.Errorf("not all are in step: %s", r.Stdout)
			}
		}
		return r.Err
	})
}

// manifest is a pod, YAML, of the given spec, YAML in flow style.
func manifest(name, spec string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: %s}, spec: %s}", name, spec)
}

// get asks a replica over plain HTTP.
func get(ctx context.Context, url string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(data), err
}
