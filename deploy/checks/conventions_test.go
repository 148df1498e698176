package checks

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// What tools list and group by. The uninstaller, demos and mappings are no part of an installation.
func TestEveryObjectOfAnInstallationHasTheRecommendedLabels(t *testing.T) {
	for source, objects := range everything(t) {
		installed := strings.HasPrefix(source, "overlays/") || strings.HasPrefix(source, "chart, ") || strings.HasPrefix(source, "components/")
		for _, o := range objects {
			if !installed {
				continue
			}
			sets := map[string]map[string]string{id(o): o.GetLabels()}
			if p, ok := podOf(t, source, o); ok {
				sets[id(o)+", its pods"] = p.meta.Labels
			}
			for of, labels := range sets {
				component := labels["app.kubernetes.io/component"]
				if !slices.Contains([]string{"node", "webhook", "kinds"}, component) {
					t.Errorf("%s: %s: component %q", source, of, component)
				}
				if got := labels["app.kubernetes.io/name"]; got != "inlay-"+component {
					t.Errorf("%s: %s: name %q of component %q", source, of, got, component)
				}
				want := []string{"part-of"}
				if strings.HasPrefix(source, "chart, ") {
					want = append(want, "instance", "version", "managed-by")
				}
				for _, label := range want {
					if labels["app.kubernetes.io/"+label] == "" {
						t.Errorf("%s: %s has no label %s", source, of, label)
					}
				}
			}
		}
	}
}

// A selector cannot be changed later: it has what never changes, and nothing else.
func TestSelectorsHaveNoMoreThanNameAndInstance(t *testing.T) {
	for source, objects := range everything(t) {
		for _, o := range objects {
			want := []string{"app.kubernetes.io/name"}
			if strings.HasPrefix(source, "chart, ") {
				want = []string{"app.kubernetes.io/instance", "app.kubernetes.io/name"}
			}
			var got map[string]string
			switch w := goType(o.GroupVersionKind()).(type) {
			case *appsv1.DaemonSet:
				if err := decode(o, w); err != nil {
					t.Fatal(err)
				}
				got = w.Spec.Selector.MatchLabels
			case *appsv1.Deployment:
				if err := decode(o, w); err != nil {
					t.Fatal(err)
				}
				got = w.Spec.Selector.MatchLabels
			default:
				continue
			}
			keys := make([]string, 0, len(got))
			for k := range got {
				keys = append(keys, k)
			}
			slices.Sort(keys)
			if diff := cmp.Diff(want, keys); diff != "" {
				t.Errorf("%s: %s (-want +got):\n%s", source, id(o), diff)
			}
		}
	}
}

// The collector is told of less than the limit at which the kernel kills, and not of so little that it never rests.
func TestTheCollectorReactsBeforeTheMemoryLimit(t *testing.T) {
	told := 0
	for _, p := range pods(t) {
		for _, c := range p.spec.Containers {
			i := slices.IndexFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "GOMEMLIMIT" })
			if i < 0 {
				if ours(c) && !strings.HasPrefix(p.owner, "Job.batch/") {
					t.Errorf("%s: %s has no GOMEMLIMIT", p.source, c.Name)
				}
				continue
			}
			told++
			mib, err := strconv.ParseInt(strings.TrimSuffix(c.Env[i].Value, "MiB"), 10, 64)
			if err != nil {
				t.Fatalf("%s: %s: %v", p.source, c.Name, err)
			}
			if share := float64(mib<<20) / c.Resources.Limits.Memory().AsApproximateFloat64(); share < 0.8 || share > 0.9 {
				t.Errorf("%s: %s: GOMEMLIMIT is %s, %.2f of the limit %s", p.source, c.Name, c.Env[i].Value, share, c.Resources.Limits.Memory())
			}
		}
	}
	if told < 10 {
		t.Errorf("only %d containers have the variable", told)
	}
}

func TestTheCollectorsLimitFollowsTheChartsValue(t *testing.T) {
	for limit, want := range map[string]string{
		"96Mi": "80MiB", "1Gi": "853MiB", "1.5Gi": "1280MiB", "100M": "79MiB", "100000k": "79MiB", "120000000": "95MiB", "\"120000000\"": "95MiB", "1T": "794728MiB", "null": "",
	} {
		got := ""
		for _, o := range usual.objects(t, "node: {resources: {deviceplugin: {limits: {memory: "+limit+"}}}}") {
			if p, ok := podOf(t, "chart", o); ok && o.GetKind() == "DaemonSet" {
				for _, e := range p.spec.Containers[0].Env {
					if e.Name == "GOMEMLIMIT" {
						got = e.Value
					}
				}
				if _, err := resource.ParseQuantity(strings.Trim(limit, "\"")); err != nil && limit != "null" {
					t.Errorf("%s is no quantity: %v", limit, err)
				}
			}
		}
		if got != want {
			t.Errorf("limit %s: GOMEMLIMIT %q, want %q", limit, got, want)
		}
	}
}

// YAML reads off as false.
func TestOffIsOffWithAndWithoutQuotes(t *testing.T) {
	quoted := byID(usual.objects(t, `nri: {mode: "off"}`))
	for _, values := range []string{"nri: {mode: off}", "nri: {mode: false}"} {
		if diff := cmp.Diff(quoted, byID(usual.objects(t, values))); diff != "" {
			t.Errorf("%s (-quoted +this):\n%s", values, diff)
		}
	}
	files, err := usual.render(t, "nri: {mode: off}")
	if err != nil || !strings.Contains(files["inlay/templates/NOTES.txt"], "NRI off.") {
		t.Errorf("%v: the notes say %s", err, files["inlay/templates/NOTES.txt"])
	}
}

func TestUpdateStrategiesAreThoseOfTheValues(t *testing.T) {
	got := map[string]string{}
	for _, o := range usual.objects(t, "{node: {updateStrategy: {type: OnDelete}}, webhook: {updateStrategy: {type: Recreate}}}") {
		switch w := goType(o.GroupVersionKind()).(type) {
		case *appsv1.DaemonSet:
			if err := decode(o, w); err != nil {
				t.Fatal(err)
			}
			got["node"] = fmt.Sprintf("%s %v", w.Spec.UpdateStrategy.Type, w.Spec.UpdateStrategy.RollingUpdate != nil)
		case *appsv1.Deployment: // the API server refuses rollingUpdate beside Recreate
			if err := decode(o, w); err != nil {
				t.Fatal(err)
			}
			got["webhook"] = fmt.Sprintf("%s %v", w.Spec.Strategy.Type, w.Spec.Strategy.RollingUpdate != nil)
		}
	}
	if diff := cmp.Diff(map[string]string{"node": "OnDelete false", "webhook": "Recreate false"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSecurityContextsAreThoseOfTheValues(t *testing.T) {
	values := `
node:
  podSecurityContext: {supplementalGroups: [44], seLinuxOptions: {type: mine_t}}
  securityContext: {runAsNonRoot: false}
webhook:
  certificates: cert-manager
  podSecurityContext: {runAsUser: null, fsGroup: 1000}
`
	for _, o := range usual.objects(t, values) {
		p, ok := podOf(t, "chart", o)
		if !ok {
			continue
		}
		s := p.spec.SecurityContext
		switch o.GetKind() {
		case "DaemonSet":
			if s.SELinuxOptions.Type != "mine_t" || !slices.Equal(s.SupplementalGroups, []int64{44}) || s.RunAsUser == nil || *s.RunAsUser != 0 {
				t.Errorf("%s: the pod has %v", id(o), s)
			}
			for _, c := range p.containers() {
				if c.SecurityContext.RunAsNonRoot == nil {
					t.Errorf("%s: %s has %v", id(o), c.Name, c.SecurityContext)
				}
			}
		case "Deployment":
			if s.RunAsUser != nil || *s.FSGroup != 1000 || s.RunAsNonRoot == nil {
				t.Errorf("%s: the pod has %v", id(o), s)
			}
		}
	}
}

var (
	mdLink   = regexp.MustCompile(`\]\(([^)]+)\)`)
	repoLink = regexp.MustCompile(`https://github\.com/inlay-project/inlay/blob/main/([^\s)#]+)`)
)

// A packaged chart has nothing above it: links go to the project's site, to files that are in this tree.
func TestLinksOfTheChartDoNotLeaveIt(t *testing.T) {
	n := 0
	for _, name := range []string{"README.md", "templates/NOTES.txt"} {
		text, err := os.ReadFile(filepath.Join(tree, "deploy/helm/inlay", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range mdLink.FindAllStringSubmatch(string(text), -1) {
			if !strings.HasPrefix(l[1], "https://") && !strings.HasPrefix(l[1], "#") {
				t.Errorf("%s: %s is no place in a packaged chart", name, l[1])
			}
		}
		for _, l := range repoLink.FindAllStringSubmatch(string(text), -1) {
			n++
			if _, err := os.Stat(filepath.Join(tree, l[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if n < 5 {
		t.Errorf("%d links: they are not found", n)
	}
}
