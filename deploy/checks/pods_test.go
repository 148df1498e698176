package checks

import (
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// pod is a pod that an object makes.
type pod struct {
	source, owner, namespace string
	meta                     metav1.ObjectMeta
	spec                     corev1.PodSpec
}

func (p pod) containers() []corev1.Container {
	return slices.Concat(p.spec.InitContainers, p.spec.Containers)
}

// podOf gives the pod of an object that makes one.
func podOf(t *testing.T, source string, o *unstructured.Unstructured) (pod, bool) {
	t.Helper()
	p := pod{source: source, owner: id(o), namespace: o.GetNamespace()}
	into := goType(o.GroupVersionKind())
	if err := decode(o, into); err != nil {
		t.Fatalf("%s: %s: %v", source, id(o), err)
	}
	switch o := into.(type) {
	case *appsv1.DaemonSet:
		p.meta, p.spec = o.Spec.Template.ObjectMeta, o.Spec.Template.Spec
	case *appsv1.Deployment:
		p.meta, p.spec = o.Spec.Template.ObjectMeta, o.Spec.Template.Spec
	case *batchv1.Job:
		p.meta, p.spec = o.Spec.Template.ObjectMeta, o.Spec.Template.Spec
	case *corev1.Pod:
		p.meta, p.spec = o.ObjectMeta, o.Spec
	default:
		return pod{}, false
	}
	return p, true
}

// pods are all pods of deploy/.
func pods(t *testing.T) []pod {
	t.Helper()
	var found []pod
	all := everything(t)
	for _, source := range slices.Sorted(maps.Keys(all)) {
		found = append(found, podsOf(t, source, all[source])...)
	}
	if len(found) < len(overlays(t))+len(sampleValues) {
		t.Fatalf("only %d pods", len(found))
	}
	return found
}

// podsOf are the pods that objects make.
func podsOf(t *testing.T, source string, objects []*unstructured.Unstructured) []pod {
	t.Helper()
	var found []pod
	for _, o := range objects {
		if p, ok := podOf(t, source, o); ok {
			found = append(found, p)
		}
	}
	return found
}

// unsafe says what a pod has that none of ours may have.
func unsafe(p pod) []string {
	var wrong []string
	say := func(c, what string) { wrong = append(wrong, strings.TrimSpace(c+" "+what)) }
	if p.spec.HostNetwork || p.spec.HostPID || p.spec.HostIPC {
		say("", "shares a namespace of the host")
	}
	if p.spec.SecurityContext == nil || p.spec.SecurityContext.SeccompProfile == nil ||
		p.spec.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		say("", "has another seccomp profile than the runtime's")
	}
	if p.spec.EnableServiceLinks == nil || *p.spec.EnableServiceLinks {
		if !strings.HasPrefix(p.source, "demo/") {
			say("", "takes variables of services")
		}
	}
	for _, c := range p.containers() {
		s := c.SecurityContext
		if s == nil {
			say(c.Name, "has no securityContext")
			continue
		}
		if s.Privileged != nil && *s.Privileged {
			say(c.Name, "is privileged")
		}
		if s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation {
			say(c.Name, "may gain privileges")
		}
		if s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
			say(c.Name, "can write its root file system")
		}
		if s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
			say(c.Name, "does not drop all capabilities")
		}
		if s.SeccompProfile != nil || s.RunAsUser != nil {
			say(c.Name, "overrides its pod")
		}
		if c.Resources.Requests.Memory().IsZero() && c.Resources.Limits.Memory().IsZero() {
			say(c.Name, "has no memory request")
		}
		if c.Resources.Limits.Memory().IsZero() {
			say(c.Name, "has no memory limit")
		}
		for _, m := range c.VolumeMounts {
			if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
				say(c.Name, "shares mounts with the host")
			}
			if m.RecursiveReadOnly != nil && !m.ReadOnly {
				say(c.Name, "mount "+m.MountPath+": recursiveReadOnly without readOnly is refused by the API server")
			}
		}
	}
	for _, v := range p.spec.Volumes {
		if v.HostPath == nil {
			continue
		}
		if v.HostPath.Type == nil || *v.HostPath.Type == corev1.HostPathUnset {
			say("", "host path "+v.HostPath.Path+" has no type: what is missing would be made, or not, as the runtime likes")
		}
		if path.Clean(v.HostPath.Path) == "/" {
			say("", "mounts the whole host")
		}
	}
	return wrong
}

func TestPodsHaveNoMoreThanTheyNeed(t *testing.T) {
	for _, p := range pods(t) {
		for _, wrong := range unsafe(p) {
			t.Errorf("%s: %s: %s", p.source, p.owner, wrong)
		}
	}
}

func TestWhatIsUnsafeIsFound(t *testing.T) {
	good := func() pod { // of kustomize, which has no values
		for _, o := range kustomized(t, "overlays/region") {
			if p, ok := podOf(t, "test", o); ok && o.GetKind() == "DaemonSet" {
				return p
			}
		}
		t.Fatal("no DaemonSet")
		return pod{}
	}
	yes, no := true, false
	bidirectional := corev1.MountPropagationBidirectional
	for says, spoil := range map[string]func(*pod){
		"shares a namespace of the host":  func(p *pod) { p.spec.HostPID = true },
		"another seccomp profile":         func(p *pod) { p.spec.SecurityContext.SeccompProfile = nil },
		"takes variables of services":     func(p *pod) { p.spec.EnableServiceLinks = nil },
		"has no securityContext":          func(p *pod) { p.spec.Containers[0].SecurityContext = nil },
		"is privileged":                   func(p *pod) { p.spec.Containers[0].SecurityContext.Privileged = &yes },
		"may gain privileges":             func(p *pod) { p.spec.InitContainers[0].SecurityContext.AllowPrivilegeEscalation = nil },
		"can write its root":              func(p *pod) { p.spec.Containers[0].SecurityContext.ReadOnlyRootFilesystem = &no },
		"does not drop all":               func(p *pod) { p.spec.Containers[1].SecurityContext.Capabilities.Drop = nil },
		"overrides its pod":               func(p *pod) { p.spec.Containers[0].SecurityContext.SeccompProfile = &corev1.SeccompProfile{} },
		"has no memory limit":             func(p *pod) { p.spec.Containers[0].Resources.Limits = nil },
		"shares mounts with the host":     func(p *pod) { p.spec.Containers[0].VolumeMounts[0].MountPropagation = &bidirectional },
		"recursiveReadOnly without":       func(p *pod) { p.spec.Containers[0].VolumeMounts[1].ReadOnly = false },
		"host path /run/inlay has no typ": func(p *pod) { hostPath(p, "/run/inlay").Type = nil },
		"mounts the whole host":           func(p *pod) { hostPath(p, "/run/inlay").Path = "/" },
	} {
		p := good()
		if wrong := unsafe(p); len(wrong) > 0 {
			t.Fatal(wrong)
		}
		spoil(&p)
		if wrong := unsafe(p); len(wrong) != 1 || !strings.Contains(wrong[0], says) {
			t.Errorf("%q was not found: %q", says, wrong)
		}
	}
}

func hostPath(p *pod, path string) *corev1.HostPathVolumeSource {
	for _, v := range p.spec.Volumes {
		if v.HostPath != nil && v.HostPath.Path == path {
			return v.HostPath
		}
	}
	return &corev1.HostPathVolumeSource{}
}

// levels are the Pod Security levels of the namespaces: what docs/security.md says.
var levels = map[string]psa.Level{"inlay-system": psa.LevelRestricted, "inlay-node": psa.LevelPrivileged}

// evaluator judges pods by the newest Pod Security standards.
func evaluator(t *testing.T) policy.Evaluator {
	t.Helper()
	e, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func allowed(e policy.Evaluator, level psa.Level, p pod) policy.AggregateCheckResult {
	return policy.AggregateCheckResults(e.EvaluatePod(psa.LevelVersion{Level: level, Version: psa.LatestVersion()}, &p.meta, &p.spec))
}

func TestEveryNamespaceStatesTheLevelThatItsPodsPassAndNoLowerOne(t *testing.T) {
	e := evaluator(t)
	for _, overlay := range overlays(t) {
		objects := kustomized(t, "overlays/"+overlay)
		for _, o := range objects {
			if o.GetKind() != "Namespace" {
				continue
			}
			level, known := levels[o.GetName()]
			if !known {
				t.Errorf("%s: namespace %s has no level in this test", overlay, o.GetName())
			}
			for _, mode := range []string{"enforce", "audit", "warn"} {
				if got := o.GetLabels()["pod-security.kubernetes.io/"+mode]; got != string(level) {
					t.Errorf("%s: namespace %s: %s is %q, want %s", overlay, o.GetName(), mode, got, level)
				}
			}
		}
		for _, o := range objects {
			p, ok := podOf(t, overlay, o)
			if !ok {
				continue
			}
			if got := allowed(e, levels[p.namespace], p); !got.Allowed {
				t.Errorf("%s: %s: %s: %s", overlay, p.owner, got.ForbiddenReason(), got.ForbiddenDetail())
			}
			// A level that nothing in the namespace needs is too low a one.
			if levels[p.namespace] == psa.LevelPrivileged && allowed(e, psa.LevelBaseline, p).Allowed {
				t.Errorf("%s: %s would pass baseline", overlay, p.owner)
			}
		}
	}
	for _, p := range pods(t) {
		switch {
		case strings.HasPrefix(p.source, "demo/"), strings.HasPrefix(p.owner, "Deployment.apps/"):
			if got := allowed(e, psa.LevelRestricted, p); !got.Allowed {
				t.Errorf("%s: %s: %s", p.source, p.owner, got.ForbiddenDetail())
			}
		}
	}
}

// Why the nodes' namespace is privileged: folders of the host, and on SELinux the type. Nothing else.
func TestTheNodesPodsNeedThatLevelForFoldersAndSELinuxAlone(t *testing.T) {
	e := evaluator(t)
	for _, p := range pods(t) {
		if !strings.HasPrefix(p.owner, "DaemonSet.apps/") {
			continue
		}
		p.spec.Volumes = slices.DeleteFunc(slices.Clone(p.spec.Volumes), func(v corev1.Volume) bool { return v.HostPath != nil })
		p.spec.SecurityContext.SELinuxOptions = nil
		if got := allowed(e, psa.LevelBaseline, p); !got.Allowed {
			t.Errorf("%s: %s: %s", p.source, p.owner, got.ForbiddenDetail())
		}
	}
}

func TestTheDaemonSetIsRolledOutNodeByNode(t *testing.T) {
	for source, objects := range everything(t) {
		for _, o := range objects {
			if o.GetKind() != "DaemonSet" {
				continue
			}
			var d appsv1.DaemonSet
			if err := decode(o, &d); err != nil {
				t.Fatal(err)
			}
			switch update := d.Spec.UpdateStrategy; {
			case update.Type == appsv1.OnDeleteDaemonSetStrategyType && update.RollingUpdate == nil:
			case update.Type != appsv1.RollingUpdateDaemonSetStrategyType:
				t.Errorf("%s: updateStrategy %+v", source, update)
			default:
				if diff := cmp.Diff(intstr.FromInt32(0), *update.RollingUpdate.MaxSurge); diff != "" {
					t.Errorf("%s: two pods on a node (-want +got):\n%s", source, diff)
				}
			}
			for _, c := range d.Spec.Template.Spec.Containers {
				if c.ReadinessProbe == nil || c.LivenessProbe == nil {
					t.Errorf("%s: %s has no probes", source, c.Name)
				}
				if c.Name == "inlay-deviceplugin" && c.ReadinessProbe.HTTPGet.Path != "/readyz?exclude=hardware" {
					t.Errorf("%s: a dead card would hold up the roll-out: %s", source, c.ReadinessProbe.HTTPGet.Path)
				}
			}
		}
	}
}

// The API server refuses selectors that do not match, and nothing else tells.
func TestSelectorsFindTheirPods(t *testing.T) {
	for source, objects := range everything(t) {
		templates := map[string]map[string]string{} // namespace/owner → labels
		for _, o := range objects {
			if p, ok := podOf(t, source, o); ok {
				templates[p.namespace+"/"+o.GetName()] = p.meta.Labels
			}
		}
		for _, o := range objects {
			fields := map[string][]string{
				"DaemonSet": {"spec", "selector", "matchLabels"}, "Deployment": {"spec", "selector", "matchLabels"}, "Service": {"spec", "selector"},
				"PodDisruptionBudget": {"spec", "selector", "matchLabels"}, "NetworkPolicy": {"spec", "podSelector", "matchLabels"},
				"PodMonitor": {"spec", "selector", "matchLabels"},
			}[o.GetKind()]
			if fields == nil {
				continue
			}
			selector, found, err := unstructured.NestedStringMap(o.Object, fields...)
			labels := templates[o.GetNamespace()+"/"+o.GetName()]
			if err != nil || !found || len(selector) == 0 {
				t.Errorf("%s: %s selects everything: %v", source, id(o), err)
			}
			for k, v := range selector {
				if labels[k] != v {
					t.Errorf("%s: %s selects %s=%s, the pods have %v", source, id(o), k, v, labels)
				}
			}
		}
	}
}

// Mounts of a read-only root that lead into each other, ports and volumes are wired by name.
func TestMountsAndPortsLeadToWhatIsThere(t *testing.T) {
	for _, p := range pods(t) {
		volumes := map[string]bool{} // by name: used?
		for _, v := range p.spec.Volumes {
			volumes[v.Name] = false
		}
		for _, c := range p.containers() {
			ports := map[string]bool{}
			for _, port := range c.Ports {
				ports[port.Name] = true
			}
			for _, m := range c.VolumeMounts {
				if _, there := volumes[m.Name]; !there {
					t.Errorf("%s: %s: %s mounts %s, which is no volume", p.source, p.owner, c.Name, m.Name)
				}
				volumes[m.Name] = true
			}
			for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe} {
				if probe != nil && !ports[probe.HTTPGet.Port.StrVal] {
					t.Errorf("%s: %s: %s is probed at port %s", p.source, p.owner, c.Name, probe.HTTPGet.Port.StrVal)
				}
			}
		}
		for name, used := range volumes {
			if !used {
				t.Errorf("%s: %s: nobody mounts %s", p.source, p.owner, name)
			}
		}
	}
}
