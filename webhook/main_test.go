package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/inlay-project/inlay/internal/childtest"
	"github.com/inlay-project/inlay/internal/cli"
)

// asProgram is the role in which this test binary is inlay-webhook.
const asProgram = "inlay-webhook"

func TestMain(m *testing.M) {
	if childtest.Role() == asProgram {
		os.Exit(cli.Main(newCommand()))
	}
	os.Exit(m.Run())
}

// The ids of the specification's samples.
const (
	iface  = "69528db6eb31577a8c3668f9faa081f6"
	nlb0   = "d8424dc4a4a3c413f89e433683f9040b"
	nlb3   = "f7df405cbd7acf7222f144b0b93acd18"
	region = "fpga.intel.com/region-" + iface
)

const samples = `
# The mappings of the specification's samples.
apiVersion: fpga.intel.com/v2
kind: AcceleratorFunction
metadata: {name: n3o, namespace: ns1}
spec: {afuId: ` + nlb3 + `, interfaceId: ` + iface + `, mode: region}
---
apiVersion: fpga.intel.com/v2
kind: AcceleratorFunction
metadata: {name: n0p, namespace: ns1}
spec: {afuId: ` + nlb0 + `, interfaceId: ` + iface + `, mode: af}
---
apiVersion: fpga.intel.com/v2
kind: FpgaRegion
metadata: {name: a10}
spec: {interfaceId: ` + iface + `}
`

const review = `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u1","resource":{"group":"","version":"v1","resource":"pods"},
"namespace":"NS","operation":"CREATE","object":{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","resources":{
"limits":{"fpga.intel.com/NAME":"1"},"requests":{"fpga.intel.com/NAME":"1"}}}]}}}}`

func reviewOf(namespace, name string) string {
	return strings.NewReplacer("NS", namespace, "NAME", name).Replace(review)
}

// write makes a file.
func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// ran is a program that has ended.
type ran struct {
	code           int
	stdout, stderr string
}

func run(t testing.TB, stdin string, args []string, env ...string) ran {
	t.Helper()
	cmd := childtest.Command(asProgram, args...)
	cmd.Stdin, cmd.Env = strings.NewReader(stdin), append(cmd.Env, env...)
	code, stdout, stderr := childtest.Run(t, cmd)
	return ran{code, stdout, stderr}
}

// answer reads an AdmissionReview as the API server does.
func answer(t testing.TB, text string) *admissionv1.AdmissionResponse {
	t.Helper()
	var r admissionv1.AdmissionReview
	if err := json.Unmarshal([]byte(text), &r); err != nil || r.Response == nil || r.APIVersion != "admission.k8s.io/v1" || r.Kind != "AdmissionReview" {
		t.Fatalf("answer %q: %v", text, err)
	}
	return r.Response
}

func TestMutateAnswersAReviewFromStandardInput(t *testing.T) {
	file := write(t, "mappings.yaml", samples)
	more := write(t, "more.yaml", strings.NewReplacer("ns1", "ns2", "a10", "a11").Replace(samples))
	for _, tt := range []struct {
		name, args, stdin string
		allowed           bool
		text              string // of the patch or the message
	}{
		{"translated", "--mappings " + file, reviewOf("ns1", "n3o"), true, "FPGA_REGION_1"},
		{"denied", "--mappings " + more + " --namespace-default ns1", reviewOf("ns1", "other"), false, "other"},
		{"another namespace", "--mappings " + file + " -n ns2", reviewOf("ns2", "n3o"), false, "ns2"},
		{"two files", "--mappings " + file + " --mappings " + more, reviewOf("ns2", "n3o"), true, "FPGA_REGION_1"},
		{"two files in a row", "--mappings " + file + " " + more, reviewOf("ns2", "n3o"), true, "FPGA_REGION_1"},
		{"a mapping without a namespace", "--mappings " + file, reviewOf("default", "a10"), true, "region-"},
		{"is in another by the flag of explain", "--namespace team --mappings " + file, reviewOf("team", "a10"), true, "region-"},
		{"is in another", "--namespace-default team --mappings " + file, reviewOf("team", "a10"), true, "region-"},
		{"mode affinity", "--mode-affinity --mappings " + file, reviewOf("ns1", "n3o"), true, "nodeAffinity"},
		{"check of an alias", "--check --mappings " + file, reviewOf("ns1", "n3o"), false, "n3o"},
		{"check of a raw name", "--check --mappings " + file, reviewOf("default", "region-"+iface), true, ""},
		{"a pod that is malformed", "--mappings " + file, strings.Replace(reviewOf("ns1", "n3o"), `"spec":{`, `"kind":"Job","spec":{`, 1), false, "kind is Job"},
		{"wrong resource", "--mappings " + file, strings.Replace(reviewOf("ns1", "n3o"), `"pods"`, `"jobs"`, 1), false, "jobs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := run(t, tt.stdin, append([]string{"mutate"}, strings.Fields(tt.args)...))
			if got.code != 0 || got.stderr != "" {
				t.Fatalf("%+v", got)
			}
			a := answer(t, got.stdout)
			if a.Allowed != tt.allowed || a.UID != "u1" {
				t.Errorf("%s", got.stdout)
			}
			said := string(a.Patch)
			if a.Result != nil {
				said = a.Result.Message
			}
			if !strings.Contains(said, tt.text) {
				t.Errorf("%q, want %q", said, tt.text)
			}
		})
	}
}

func TestMutateDeniesWhatIsNoReviewAndSaysSo(t *testing.T) {
	good := reviewOf("ns1", "n3o")
	file := write(t, "mappings.yaml", samples)
	for _, tt := range []struct{ name, stdin, want string }{
		{"nothing", "", "no JSON"},
		{"text", "hello", "no JSON"},
		{"YAML", "kind: AdmissionReview\n", "no JSON"},
		{"a pod", `{"kind":"Pod","apiVersion":"v1"}`, `kind is "Pod"`},
		{"the beta version", strings.Replace(reviewOf("ns1", "n3o"), "admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1), "v1beta1"},
		{"no request", `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}`, "no request"},
		{"10 MiB", strings.Repeat(" ", 10<<20), "8 MiB"},
		{"cut by five bytes", good[:len(good)-5], "no JSON at byte"},
		{"a letter behind it", good + "x", "something follows the value"},
		{"a second one behind it", good + good, "something follows the value"},
		{"a NUL behind it", good + "\x00", "something follows the value"},
		{"broken tolerations", strings.Replace(good, `"containers"`, `"tolerations":[},"containers"`, 1), "no JSON at byte"},
		{"a broken userInfo", strings.Replace(good, `"operation"`, `"userInfo":{nonsense},"operation"`, 1), "no JSON at byte"},
		{"volumes too deep", strings.Replace(good, `"containers"`, `"volumes":`+strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000)+`,"containers"`, 1), "more than 300 levels"},
		{"a pod too deep", strings.Replace(good, `"metadata":{`, `"metadata":{"x":`+strings.Repeat("[", 301)+strings.Repeat("]", 301)+`,`, 1), "more than 300 levels"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := run(t, tt.stdin, []string{"mutate", "--mappings", file})
			a := answer(t, got.stdout)
			if a.Allowed || a.Result.Code != 400 || !strings.Contains(a.Result.Message, tt.want) {
				t.Errorf("answer %s", got.stdout)
			}
			if len(tt.stdin) < 10<<20 && strings.Contains(tt.stdin, `"uid":"u1"`) && a.UID != "u1" {
				t.Errorf("uid %q", a.UID)
			}
			if got.code != 1 || strings.Count(got.stderr, "\n") != 1 || !strings.HasPrefix(got.stderr, "inlay-webhook: ") || !strings.Contains(got.stderr, tt.want) {
				t.Errorf("exit code %d, stderr %q", got.code, got.stderr)
			}
		})
	}
}

func TestAMappingThatLeadsNowhereIsAWarning(t *testing.T) {
	file := write(t, "mappings.yaml", strings.Replace(samples, "mode: region", "mode: afoo", 1))
	got := run(t, reviewOf("ns1", "n3o"), []string{"mutate", "--mappings", file})
	if a := answer(t, got.stdout); got.code != 0 || a.Allowed || !strings.Contains(a.Result.Message, "afoo") {
		t.Errorf("%+v", got)
	}
	if !strings.HasPrefix(got.stderr, "inlay-webhook: warning: ") || strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, "afoo") {
		t.Errorf("stderr %q", got.stderr)
	}
}

func TestWhereNothingNamesANamespaceAllAreInTheDefaultOne(t *testing.T) {
	file := write(t, "mappings.yaml", samples)
	request := strings.Replace(reviewOf("NONE", "a10"), `"namespace":"NONE",`, "", 1)
	for _, args := range []string{
		"mutate --mappings " + file, "mutate --namespace-default team --mappings " + file, "mutate --mode-affinity --mappings " + file,
	} {
		cmd, _ := newCommand()
		var stdout, stderr bytes.Buffer
		cmd.SetArgs(strings.Fields(args))
		cmd.SetIn(strings.NewReader(request))
		cmd.SetOut(&stdout)
		cmd.SetErr(&stderr)
		if err := cmd.Execute(); err != nil || stderr.Len() > 0 {
			t.Fatalf("%s: %v, %s", args, err, &stderr)
		}
		if a := answer(t, stdout.String()); !a.Allowed || !strings.Contains(string(a.Patch), "region-"+iface) {
			t.Errorf("%s: %s", args, &stdout)
		}
	}
}

// The mapping that a denial is for want of may be in the file, and in another namespace because it names none.
func TestMappingsWithoutANamespaceAreToldOfWhereAPodOfAnotherIsDenied(t *testing.T) {
	file := write(t, "mappings.yaml", samples)
	placed := write(t, "placed.yaml", strings.Replace(samples, "name: a10", "name: a10, namespace: ns3", 1))
	own := strings.NewReplacer(`"namespace":"NONE",`, "", `{"name":"p"}`, `{"name":"p","namespace":"ns1"}`).Replace(reviewOf("NONE", "a10"))
	for _, tt := range []struct {
		name, args, review string
		warned             bool
	}{
		{"denied", file, reviewOf("ns1", "a10"), true},
		{"denied for something else", file + " --check", reviewOf("ns1", "n3o"), false},
		{"the pod's own namespace", file, own, true},
		{"allowed", file, reviewOf("ns1", "n3o"), false},
		{"denied where they are", file, reviewOf("default", "other"), false},
		{"denied where they were put", file + " --namespace-default ns1", reviewOf("ns1", "other"), false},
		{"all have one", placed, reviewOf("ns1", "a10"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := run(t, tt.review, strings.Fields("mutate --mappings "+tt.args))
			const want = "inlay-webhook: warning: mappings without a namespace (1) are in namespace default; the pod is in ns1: --namespace-default puts them there\n"
			if got.code != 0 || tt.warned && got.stderr != want || !tt.warned && got.stderr != "" {
				t.Errorf("%+v", got)
			}
		})
	}
}

// Whose mappings were looked at is what the denial names.
func TestADenialWithoutANamespaceNamesTheDefaultOne(t *testing.T) {
	file := write(t, "mappings.yaml", strings.Replace(samples, "name: a10", "name: a10, namespace: ns1", 1))
	request := strings.Replace(reviewOf("NONE", "n3o"), `"namespace":"NONE",`, "", 1)
	own := strings.Replace(request, `{"name":"p"}`, `{"name":"p","namespace":"ns3"}`, 1)
	for _, tt := range []struct{ args, review, want string }{
		{"", request, "namespace default has no AcceleratorFunction or FpgaRegion named n3o"},
		{" --check", request, "namespace default has no AcceleratorFunction or FpgaRegion named n3o"},
		{" --namespace-default ns2", request, "namespace ns2 has no AcceleratorFunction or FpgaRegion named n3o"},
		{" --namespace-default ns2", own, "namespace ns3 has no AcceleratorFunction or FpgaRegion named n3o"},
	} {
		got := run(t, tt.review, strings.Fields("mutate --mappings "+file+tt.args))
		if a := answer(t, got.stdout); got.code != 0 || a.Allowed || !strings.Contains(a.Result.Message, tt.want) {
			t.Errorf("%q: %+v, want %s", tt.args, got, tt.want)
		}
	}
}

// What other tools write with the mappings, and one mapping that an API server would refuse, must not stop the others.
func TestAFileWithOtherObjectsAndABrokenMappingIsUsedWithWarnings(t *testing.T) {
	file := write(t, "mappings.yaml", samples+`---
apiVersion: v1
kind: Namespace
metadata: {name: ns1}
---
apiVersion: fpga.intel.com/v2
kind: AcceleratorFunction
metadata: {name: number, namespace: ns1}
spec: {afuId: 12345678, interfaceId: `+iface+`, mode: region}
`)
	got := run(t, reviewOf("ns1", "n3o"), []string{"mutate", "--mappings", file})
	if a := answer(t, got.stdout); got.code != 0 || !a.Allowed || !strings.Contains(string(a.Patch), "FPGA_REGION_1") {
		t.Errorf("%+v", got)
	}
	if strings.Count(got.stderr, "inlay-webhook: warning: ") != 2 || !strings.Contains(got.stderr, "Namespace") || !strings.Contains(got.stderr, "spec.afuId") {
		t.Errorf("stderr %q", got.stderr)
	}
	got = run(t, reviewOf("ns1", "number"), []string{"mutate", "--mappings", file})
	if a := answer(t, got.stdout); got.code != 0 || a.Allowed || !strings.Contains(a.Result.Message, "spec.afuId") {
		t.Errorf("%+v", got)
	}
}

func TestAMistakeInTheCallIsOneLineThatNamesIt(t *testing.T) {
	file := write(t, "mappings.yaml", samples)
	foreign := write(t, "foreign.yaml", "kind: Service\napiVersion: fpga.intel.com/v2\nmetadata: {name: web}\n")
	more := write(t, "more.yaml", "apiVersion: fpga.intel.com/v2\nkind: FpgaRegion\nmetadata: {name: a11}\nspec: {interfaceId: "+iface+"}\n")
	service := write(t, "service.yaml", "kind: Service\napiVersion: v1\nmetadata: {name: web}\n")
	broken := write(t, "broken.yaml", "kind: [Pod\n")
	noPod := write(t, "text.yaml", "- a\n- b\n")
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"", 2, "serve, mutate or explain"},
		{"start", 2, `"start"`},
		{"mutate", 2, "--mappings names no file"},
		{"mutate --mappings /nonexistent.yaml", 1, "/nonexistent.yaml"},
		{"mutate --mappings " + foreign, 1, "Service"},
		{"mutate --http=:1", 2, "--http"},
		{"explain --mappings " + file, 2, "which file has the pod"},
		{"explain --mappings " + file + " /nonexistent.yaml", 1, "/nonexistent.yaml"},
		{"explain --mappings " + file + " " + service, 1, "there is no pod"},
		{"explain --mappings " + file + " " + more + " " + service, 1, "FpgaRegion a11 is a mapping, and does not count among the pods; give its file with --mappings too"},
		{"explain --mappings " + file + " " + broken, 1, "broken.yaml: document 1"},
		{"explain --mappings " + file + " " + noPod, 1, "no Kubernetes object"},
		{"serve --tls-cert a", 2, "--tls-cert and --tls-key"},
		{"serve --drain -1s", 2, "--drain"},
		{"serve --listen=", 2, "--listen is empty"},
		{"serve --log-level loud", 2, "--log-level"},
		{"serve --kubeconfig /nonexistent", 1, "/nonexistent"},
		{"serve", 1, "--kubeconfig"},
		{"serve now", 2, `"now"`},
	} {
		t.Run(tt.args, func(t *testing.T) {
			got := run(t, "", strings.Fields(tt.args))
			first, _, _ := strings.Cut(got.stderr, "\n")
			if got.code != tt.code || !strings.HasPrefix(first, "inlay-webhook: ") || !strings.Contains(first, tt.want) {
				t.Errorf("exit code %d, stderr %q; want %d and %q", got.code, got.stderr, tt.code, tt.want)
			}
		})
	}
}

func TestHelpTeaches(t *testing.T) {
	for _, tt := range []struct {
		args string
		want []string
	}{
		{"--help", []string{"serve", "mutate", "explain", "inlay-webhook explain --mappings"}},
		{"serve --help", []string{"--listen", ":9443", "[$INLAY_NAMESPACE, $POD_NAMESPACE]", "--drain", "--http", ":9772", "--log-level", "/pods/check"}},
		{"mutate --help", []string{"--mappings", "--namespace-default", "--check", "< review.json"}},
		{"explain --help", []string{"--mappings FILE [--mappings FILE]… POD…", "--exit-code", "-n, --namespace", "kubectl", "CronJob"}},
		{"--version", []string{"inlay-webhook"}},
	} {
		got := run(t, "", strings.Fields(tt.args))
		for _, want := range tt.want {
			if got.code != 0 || got.stderr != "" || !strings.Contains(got.stdout, want) {
				t.Errorf("%s: no %q in %+v", tt.args, want, got)
			}
		}
	}
}
