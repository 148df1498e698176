package hostile

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// What a kubelet and a scheduler make of a pod, in the few steps that matter here: which node fits, and what each
// container's environment is. The rules are those of Kubernetes 1.36.

// decodePod reads a pod as Kubernetes does.
func decodePod(o any) (*corev1.Pod, error) {
	var p corev1.Pod
	if err := json.Unmarshal(asJSON(o), &p); err != nil {
		return nil, fmt.Errorf("the pod is none that an API server takes: %w", err)
	}
	return &p, nil
}

// isSidecar tells whether an init container keeps running.
func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// devices is what a container asks device plugins for. Without a limit there is no request: an API server refuses it.
func devices(c *corev1.Container) map[string]int64 {
	all := map[string]int64{}
	for name, q := range c.Resources.Limits {
		if strings.Contains(string(name), "/") && !q.IsZero() {
			all[string(name)] = q.Value()
		}
	}
	return all
}

// needs is what a pod needs of a node: its containers and sidecars together, or more while an init container runs.
func needs(p *corev1.Pod) map[string]int64 {
	running, peak := map[string]int64{}, map[string]int64{}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		for name, n := range devices(c) {
			peak[name] = max(peak[name], running[name]+n)
			if isSidecar(c) {
				running[name] += n
			}
		}
	}
	for i := range p.Spec.Containers {
		for name, n := range devices(&p.Spec.Containers[i]) {
			running[name] += n
		}
	}
	for name, n := range running {
		peak[name] = max(peak[name], n)
	}
	return peak
}

// errDoesNotFit says that no scheduler puts the pod on a node.
var errDoesNotFit = errors.New("the node does not fit")

// fits tells whether a node that offers resources gets a pod. A pod that names its node goes past the scheduler, and the
// kubelet takes it although the node has no such resource; that it has too little it still refuses.
func fits(p *corev1.Pod, offered map[string]int) error {
	for name, n := range needs(p) {
		has, offers := offered[name]
		if offers && int64(has) >= n || !offers && p.Spec.NodeName != "" {
			continue
		}
		return fmt.Errorf("%w: it has %d of %s, the pod needs %d", errDoesNotFit, has, name, n)
	}
	return nil
}

// environment is what a kubelet passes for a container; a runtime puts the image's ENV below it.
func environment(p *corev1.Pod, c *corev1.Container, o Outside) ([]string, error) {
	values := map[string]string{}
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef == nil && from.SecretRef == nil {
			return nil, fmt.Errorf("container %s: envFrom of an unknown kind", c.Name)
		}
		for k, v := range o.Config {
			values[from.Prefix+k] = v
		}
	}
	for _, e := range c.Env {
		switch {
		case e.Value != "":
			values[e.Name] = expand(e.Value, values, o.Services)
		case e.ValueFrom != nil:
			v, err := source(p, e.ValueFrom, o)
			if err != nil {
				return nil, fmt.Errorf("container %s: variable %s: %w", c.Name, e.Name, err)
			}
			values[e.Name] = v
		default:
			values[e.Name] = ""
		}
	}
	for name, v := range o.Services {
		if _, own := values[name]; !own {
			values[name] = v
		}
	}
	var env []string
	for name, v := range values {
		env = append(env, name+"="+v)
	}
	slices.Sort(env)
	return env, nil
}

func source(p *corev1.Pod, s *corev1.EnvVarSource, o Outside) (string, error) {
	switch {
	case s.ConfigMapKeyRef != nil:
		return o.Config[s.ConfigMapKeyRef.Key], nil
	case s.SecretKeyRef != nil:
		return o.Config[s.SecretKeyRef.Key], nil
	case s.FieldRef != nil && s.FieldRef.FieldPath == "metadata.name":
		return p.Name, nil
	case s.FieldRef != nil:
		key, ok := strings.CutPrefix(s.FieldRef.FieldPath, "metadata.annotations['")
		if ok {
			return p.Annotations[strings.TrimSuffix(key, "']")], nil
		}
	}
	return "", errors.New("a source that this kubelet does not know")
}

// expand replaces $(NAME) by the variable's value; $$ stands for $, and an unknown reference for itself.
func expand(text string, scopes ...map[string]string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		name, rest, closed := strings.Cut(strings.TrimPrefix(after, "("), ")")
		switch {
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			text = after[1:]
		case strings.HasPrefix(after, "(") && closed:
			b.WriteString(lookup(name, scopes))
			text = rest
		default:
			b.WriteByte('$')
			text = after
		}
	}
}

func lookup(name string, scopes []map[string]string) string {
	for _, s := range scopes {
		if v, ok := s[name]; ok {
			return v
		}
	}
	return "$(" + name + ")"
}
