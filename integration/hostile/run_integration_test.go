//go:build integration

package hostile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/cri"
	"github.com/inlay-project/inlay/integration/kubelet"
)

// ran is what became of one container.
type ran struct {
	name  string
	err   error             // the refusal; nil = it ran
	ports map[string]string // port to the function that it reads there
	fmes  []string
	made  map[string]string // what it reads through nodes that it makes itself
}

func (r ran) functions() []string { return slices.Sorted(maps.Values(r.ports)) }

// podLimit bounds what is done with one pod.
const podLimit = 60 * time.Second

// run does with a pod what a scheduler and a kubelet do, and returns what became of its containers in the order of
// their starts. A container that is refused keeps those behind it from starting, if it is an init container.
func (n *node) run(t *testing.T, caseIndex int, c Case, object any, expected bool) []ran {
	t.Helper()
	p, err := decodePod(object)
	if err != nil {
		t.Fatal(err)
	}
	if err := fits(p, n.offered()); err != nil {
		if expected {
			t.Fatalf("the pod is not scheduled: %v", err)
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), podLimit)
	defer cancel()
	sandbox, err := n.sandbox(ctx, c.In, p.Annotations)
	if err != nil {
		t.Fatal(err)
	}
	h := &podRun{node: n, c: c, caseIndex: caseIndex, pod: p, sandbox: sandbox}
	defer func() {
		for _, c := range h.created {
			if err := errors.Join(c.Stop(ctx, 0), c.Remove(ctx)); err != nil {
				t.Error(err)
			}
		}
		for _, o := range h.owners {
			n.Kubelet.Free(o)
		}
	}()
	return h.all(ctx, t)
}

// sandbox is a pod of the namespace. Cases share it if their annotations are the same, for it takes longer than all that
// they do in it; nothing of a case is left when the next one comes.
func (n *node) sandbox(ctx context.Context, namespace string, annotations map[string]string) (*cri.Pod, error) {
	key := fmt.Sprint(namespace, annotations)
	if p, ok := n.sandboxes[key]; ok {
		return p, nil
	}
	number := len(n.sandboxes)
	name := fmt.Sprintf("pod-%d", number)
	p, err := n.Node.Runtime.CRI().RunPod(ctx, cri.PodSpec{
		Name: name, Namespace: namespace, UID: fmt.Sprintf("%08d-0000-4000-8000-000000000000", number), Annotations: annotations,
		CgroupParent: n.Node.CgroupParent(), LogDir: filepath.Join(n.Node.Dir, "pods", name),
	})
	if err != nil {
		return nil, err
	}
	n.sandboxes[key] = p
	return p, nil
}

// podRun is one pod on its node.
type podRun struct {
	*node
	c         Case
	caseIndex int
	pod       *corev1.Pod
	sandbox   *cri.Pod
	owners    []kubelet.Owner
	created   []*cri.Container
}

func (h *podRun) all(ctx context.Context, t *testing.T) []ran {
	t.Helper()
	var all []ran
	for i := range h.pod.Spec.InitContainers {
		c := &h.pod.Spec.InitContainers[i]
		r := h.container(ctx, t, c, isSidecar(c), !isSidecar(c))
		if all = append(all, r); r.err != nil {
			return all
		}
	}
	for i := range h.pod.Spec.Containers {
		all = append(all, h.container(ctx, t, &h.pod.Spec.Containers[i], false, false))
	}
	return all
}

// container gives a container its devices and starts it. A plain init container's devices go on to those behind it, and
// the kubelet lists them for none meanwhile.
func (h *podRun) container(ctx context.Context, t *testing.T, c *corev1.Container, stays, passesOn bool) ran {
	t.Helper()
	owner := kubelet.Owner{Namespace: h.c.In, Pod: h.sandbox.Spec.Name, Container: c.Name}
	request, offered := kubelet.Request{}, h.offered()
	for name, quantity := range devices(c) {
		if _, ok := offered[name]; ok {
			request[name] = int(quantity)
		}
	}
	answer, err := h.Kubelet.Allocate(ctx, owner, request)
	h.owners = append(h.owners, owner)
	if err != nil {
		t.Fatal(err)
	}
	env, err := environment(h.pod, c, h.c.Outside)
	if err != nil {
		t.Fatal(err)
	}
	preStart := func() error { return h.Kubelet.PreStart(ctx, owner) }
	if err := integration.Answered(t, "PreStartContainer of "+c.Name, nil, preStart); err != nil {
		t.Fatalf("PreStartContainer, which only asks whether inlay-nri is there: %v", err)
	}
	if passesOn {
		h.Kubelet.Free(owner)
	}
	spec := integration.Shell(h.script(stays))
	spec.Name, spec.Image, spec.Env = c.Name, imageOf(h.caseIndex, h.c, c.Name), env
	var created *cri.Container
	err = integration.Answered(t, c.Name, nil, func() error {
		spec.Attempt = h.attempts
		h.attempts++
		var err error
		if created, err = h.sandbox.Create(ctx, answer.Apply(spec)); err != nil {
			return err
		}
		h.created = append(h.created, created)
		return created.Start(ctx)
	})
	if err != nil {
		return ran{name: c.Name, err: err}
	}
	r := h.read(ctx, t, created)
	if !stays {
		if _, err := created.Wait(ctx); err != nil {
			t.Error(err)
		}
	}
	return r
}

// script reads every port in the container, then every port of the node through a node of its own making, which only
// the device cgroup can refuse.
func (h *podRun) script(stays bool) string {
	script := `for p in /dev/dfl-port.*; do [ -e "$p" ] && echo "port ${p#/dev/} $(afu-read "$p" 2>&1)"; done
for f in /dev/dfl-fme.*; do [ -e "$f" ] && echo "fme ${f#/dev/}"; done
`
	for _, numbers := range h.ports {
		name, rest, _ := strings.Cut(numbers, " ")
		script += fmt.Sprintf("mknod /tmp/%[1]s c %[2]s && id=$(afu-read /tmp/%[1]s 2>/dev/null) && echo \"made %[1]s $id\"\n", name, rest)
	}
	script += "echo ready\n"
	if stays {
		script += "exec sleep 600\n"
	}
	return script
}

// read waits until the container has read its ports and takes what it printed.
func (h *podRun) read(ctx context.Context, t *testing.T, c *cri.Container) ran {
	t.Helper()
	for !strings.HasSuffix(c.Logs(), "ready\n") {
		select {
		case <-ctx.Done():
			t.Fatalf("container %s has not read its ports: %q", c.Spec.Name, c.Logs())
		case <-time.After(5 * time.Millisecond):
		}
	}
	r := ran{name: c.Spec.Name, ports: map[string]string{}, made: map[string]string{}}
	for line := range strings.Lines(c.Logs()) {
		what, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		name, id, _ := strings.Cut(rest, " ")
		switch what {
		case "port":
			r.ports[name] = id
		case "made":
			r.made[name] = id
		case "fme":
			r.fmes = append(r.fmes, name)
		}
	}
	return r
}
