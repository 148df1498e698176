package checks

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	chartcommon "helm.sh/helm/v4/pkg/chart/common"
	chartutil "helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	helmengine "helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	yamlstream "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// tree is the top of the source tree, as go test runs here.
const tree = "../.."

// overlays are what users apply.
func overlays(t *testing.T) []string {
	t.Helper()
	folders, err := filepath.Glob(filepath.Join(tree, "deploy/overlays/*"))
	if err != nil || len(folders) == 0 {
		t.Fatalf("no overlays: %v", err)
	}
	var names []string
	for _, f := range folders {
		names = append(names, filepath.Base(f))
	}
	return names
}

// kustomized renders a folder below deploy/ as `kubectl apply -k` does.
func kustomized(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	m, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(tree, "deploy", folder))
	if err != nil {
		t.Fatalf("deploy/%s: %v", folder, err)
	}
	text, err := m.AsYaml()
	if err != nil {
		t.Fatalf("deploy/%s: %v", folder, err)
	}
	return parse(t, "deploy/"+folder, text)
}

// file reads a file below deploy/ as it is.
func file(t *testing.T, name string) []*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(tree, "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, "deploy/"+name, text)
}

// parse splits YAML into objects. A key that is there twice is an error.
func parse(t *testing.T, source string, text []byte) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	documents := yamlstream.NewDocumentDecoder(io.NopCloser(bytes.NewReader(text)))
	defer documents.Close()
	buf := make([]byte, 1<<20)
	for {
		n, err := documents.Read(buf)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		data, err := yaml.YAMLToJSONStrict(buf[:n])
		if err != nil {
			t.Fatalf("%s: %v\n%s", source, err, buf[:n])
		}
		if string(data) == "null" {
			continue
		}
		o := &unstructured.Unstructured{}
		if err := o.UnmarshalJSON(data); err != nil {
			t.Fatalf("%s: %v\n%s", source, err, buf[:n])
		}
		objects = append(objects, o)
	}
}

// id names an object in messages and in comparisons.
func id(o *unstructured.Unstructured) string {
	return path.Join(o.GroupVersionKind().GroupKind().String(), o.GetNamespace(), o.GetName())
}

// oneChart loads the chart once: it is never changed.
var oneChart = sync.OnceValues(func() (*chart.Chart, error) { return loader.Load(filepath.Join(tree, "deploy/helm/inlay")) })

// release is a release of the chart in its usual namespace.
type release struct{ name, namespace string }

var usual = release{"inlay", "inlay-system"}

// render gives the chart's files by name. values is YAML.
func (r release) render(t *testing.T, values string) (map[string]string, error) {
	t.Helper()
	c, err := oneChart()
	if err != nil {
		t.Fatal(err)
	}
	set := map[string]any{}
	if err := yaml.Unmarshal([]byte(values), &set); err != nil {
		t.Fatalf("%v\n%s", err, values)
	}
	options := chartcommon.ReleaseOptions{Name: r.name, Namespace: r.namespace, Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(c, set, options, nil)
	if err != nil {
		return nil, err
	}
	engine := helmengine.Engine{Strict: true}
	return engine.RenderWithContext(t.Context(), c, all)
}

// objects renders the chart and parses it.
func (r release) objects(t *testing.T, values string) []*unstructured.Unstructured {
	t.Helper()
	files, err := r.render(t, values)
	if err != nil {
		t.Fatalf("%v\n%s", err, values)
	}
	var objects []*unstructured.Unstructured
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, ".yaml") {
			objects = append(objects, parse(t, name, []byte(files[name]))...)
		}
	}
	return objects
}

// rendered keeps what everything gives: rendering it takes a second, and nobody changes it.
var rendered struct {
	sync.Mutex
	all map[string][]*unstructured.Unstructured
}

// everything is all that a cluster can be given: each overlay, the chart in each of its modes, the uninstaller, the
// priority quotas, demos and mappings.
func everything(t *testing.T) map[string][]*unstructured.Unstructured {
	t.Helper()
	rendered.Lock()
	defer rendered.Unlock()
	if rendered.all != nil {
		return rendered.all
	}
	all := map[string][]*unstructured.Unstructured{}
	for _, name := range []string{"demo/af.yaml", "demo/region.yaml", "mappings-collection.yaml", "components/priority-quota/quota.yaml"} {
		all[name] = file(t, name)
	}
	all["uninstall"] = kustomized(t, "uninstall")
	for _, o := range overlays(t) {
		all["overlays/"+o] = kustomized(t, "overlays/"+o)
	}
	for _, component := range []string{"qat-bind", "qat-health", "gpu-levelzero", "gpu-xpumd"} {
		all["overlays/all with "+component] = composed(t, component)
	}
	for name, values := range sampleValues {
		all["chart, "+name] = usual.objects(t, values)
	}
	rendered.all = all
	return all
}

// sampleValues are sets of values that between them turn every part of the chart on and off.
var sampleValues = map[string]string{
	"defaults":     "",
	"region":       "mode: region",
	"regiondevel":  "mode: regiondevel",
	"sgx":          "families: [fpga, sgx]",
	"crio-hooks":   "{mode: region, nri: {mode: 'off'}}",
	"preinstalled": "{mode: region, nri: {mode: preinstalled}}",
	"all families": "{families: [auto], config: {version: v1, gpu: {sharedDevNum: 2}}, qat: {bind: true, health: true}, gpu: {health: xpumd}}",
	"some":         "{families: [fpga, gpu, dsa], gpu: {health: levelzero}}",
	"no others":    "config: {version: v1, fpga: {grant: nri}}",
	"all, hooks":   "{families: [auto], nri: {mode: 'off'}}",
	"off unquoted": "{mode: region, nri: {mode: off}}",
	"on delete":    "{node: {updateStrategy: {type: OnDelete}}, webhook: {updateStrategy: {type: Recreate}}}",
	"other memory": `
node: {resources: {deviceplugin: {limits: {memory: 1Gi}}, nri: {limits: {memory: 250M}}}}
webhook: {resources: {limits: {memory: 536870912}}}
`,
	"all, before":  "{families: [auto], nri: {mode: preinstalled}}",
	"cert-manager": "{mode: region, webhook: {certificates: cert-manager}}",
	"webhook":      "node: {enabled: false}",
	"node alone":   "{webhook: {enabled: false}, crds: {install: false}}",
	"everything that is off": `
priorityQuota: {enabled: true}
podMonitor: {enabled: true, labels: {release: prometheus}}
networkPolicy: {apiServerCIDRs: [10.0.0.0/29, "fd00::/64"], metricsNamespaceLabels: {team: observability}}
crds: {keep: false}
imagePullSecrets: [{name: registry}]
commonLabels: {team: accelerators}
`,
	"everything that can be set": `
fullnameOverride: accelerators
namespaceOverride: other-system
node:
  namespace: other-node
  image: {repository: registry.example.com:5000/mirror/inlay-node, tag: v1.2.3}
  serviceAccount: {create: false, name: mine}
  podAnnotations: {example.com/a: b}
  podLabels: {example.com/c: d}
  extraArgs: [--log-format=json]
  nriExtraArgs: [--log-format=json]
  extraEnv: [{name: INLAY_LOG_LEVEL, value: debug}]
  nodeSelector: {example.com/fpga: "true"}
  tolerations: []
  affinity: {}
  priorityClassName: ""
  seLinuxType: ""
  updateStrategy: {rollingUpdate: {maxUnavailable: 3}}
  podSecurityContext: {fsGroup: 0}
  paths: {kubelet: /var/lib/k0s/kubelet, nri: /run/nri, cdi: /etc/cdi, bitstreams: /data/fpga, hooksD: /etc/containers/oci/hooks.d}
webhook:
  image: {digest: "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}
  replicas: 3
  updateStrategy: {rollingUpdate: {maxSurge: 50%, maxUnavailable: 1}}
  podSecurityContext: {runAsUser: 1000, runAsGroup: null}
  modeAffinity: false
  serviceAccount: {name: translator, annotations: {example.com/e: f}}
  podAnnotations: {example.com/a: b}
  podLabels: {example.com/c: d}
  extraArgs: [--drain=10s]
  extraEnv: [{name: INLAY_LOG_FORMAT, value: json}]
  nodeSelector: {example.com/pool: system}
  tolerations: [{key: example.com/system, operator: Exists}]
  affinity: {nodeAffinity: {}}
  topologySpreadConstraints: [{topologyKey: rack, maxSkew: 1, whenUnsatisfiable: DoNotSchedule}]
  podDisruptionBudget: {enabled: false}
`,
	"other folders, pre-installed": `
nri: {mode: preinstalled}
node: {nriExtraArgs: [--log-format=json], paths: {kubelet: /data/kubelet, cdi: /etc/cdi, bitstreams: /data/fpga}}
`,
	"other folders, no NRI": `{nri: {mode: "off"}, node: {paths: {bitstreams: /data/fpga, hooksD: /etc/containers/oci/hooks.d}}}`,
}
