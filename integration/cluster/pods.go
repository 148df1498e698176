package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/integration/ocitest"
)

// PodSpec is a pod of one container, of the workload image.
type PodSpec struct {
	Name string
	// Namespace is empty for default.
	Namespace string
	// Resources are asked for, e.g. {"fpga.intel.com/nlb3": 1}.
	Resources map[string]int64
	Env       map[string]string
	// Script is run by sh; empty is ReadFunctions.
	Script string
	// RestartPolicy is empty for Always.
	RestartPolicy corev1.RestartPolicy
	// Change changes the pod before it is created.
	Change func(*corev1.Pod)
}

// ReadFunctions prints "port <name> <AFU id>" for every port in the container, then "ready", and stays.
const ReadFunctions = `for p in /dev/dfl-port.* /dev/intel-fpga-port.*; do
  [ -e "$p" ] || continue
  id=$(afu-read "$p" 2>&1); echo "port ${p#/dev/} $id"
done
echo ready
exec sleep 2147483647`

// ContainerName is the name of the container of a PodSpec.
const ContainerName = "main"

// Pod is the object that is created.
func (s PodSpec) Pod() *corev1.Pod {
	// sh as the first process of a container ignores SIGTERM: nobody waits for it.
	grace, noLinks, noToken := int64(1), false, false
	container := corev1.Container{
		Name: ContainerName, Image: ocitest.WorkloadName, ImagePullPolicy: corev1.PullNever,
		Command: []string{"/bin/sh", "-c", cmp.Or(s.Script, ReadFunctions)},
	}
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		container.Env = append(container.Env, corev1.EnvVar{Name: name, Value: s.Env[name]})
	}
	for name, n := range s.Resources {
		if container.Resources.Limits == nil {
			container.Resources.Limits = corev1.ResourceList{}
		}
		container.Resources.Limits[corev1.ResourceName(name)] = *resource.NewQuantity(n, resource.DecimalSI)
	}
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: s.Name, Namespace: cmp.Or(s.Namespace, metav1.NamespaceDefault)},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{container}, RestartPolicy: cmp.Or(s.RestartPolicy, corev1.RestartPolicyAlways),
			TerminationGracePeriodSeconds: &grace, EnableServiceLinks: &noLinks, AutomountServiceAccountToken: &noToken,
		},
	}
	if s.Change != nil {
		s.Change(pod)
	}
	return pod
}

// CreatePod creates a pod and does not wait for it. The error is the API server's, of which the webhook is a part.
func (c *Cluster) CreatePod(ctx context.Context, s PodSpec) (*corev1.Pod, error) {
	pod := s.Pod()
	return c.client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{})
}

// refusedAtAdmission is why a kubelet fails a pod that may run the next time. Just after its start, for one, it counts the devices of pods that have been deleted meanwhile.
const refusedAtAdmission = "UnexpectedAdmissionError"

// insist creates a pod as a controller would: again, as long as the API server or a webhook is not up to it. What a
// webhook has judged stays judged.
func (c *Cluster) insist(ctx context.Context, s PodSpec) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for again := false; ; again = true {
		_, err := c.CreatePod(ctx, s)
		if again && apierrors.IsAlreadyExists(err) {
			return nil // by a call that was said to have failed
		}
		unable := apierrors.IsInternalError(err) || apierrors.IsServerTimeout(err) || apierrors.IsServiceUnavailable(err)
		if !unable || strings.Contains(err.Error(), "denied the request") {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// KeepPod creates a pod and waits until it runs. As a controller would, it makes the pod anew when the kubelet has
// refused it at admission; refused has the reasons.
func (c *Cluster) KeepPod(ctx context.Context, limit time.Duration, s PodSpec) (refused []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		if err := c.insist(ctx, s); err != nil {
			return refused, err
		}
		var reason string
		err := c.AwaitPod(ctx, limit, s.Namespace, s.Name, func(pod *corev1.Pod) error {
			if pod.Status.Phase == corev1.PodFailed && pod.Status.Reason == refusedAtAdmission {
				reason = pod.Status.Message
				return nil
			}
			return Running(pod)
		})
		if err != nil || reason == "" {
			return refused, err
		}
		refused = append(refused, reason)
		if err := errors.Join(c.DeletePod(ctx, s.Namespace, s.Name), c.AwaitGone(ctx, limit, s.Namespace, s.Name)); err != nil {
			return refused, err
		}
	}
}

// PodNow is a pod as the API server has it.
func (c *Cluster) PodNow(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	return c.client.CoreV1().Pods(cmp.Or(namespace, metav1.NamespaceDefault)).Get(ctx, name, metav1.GetOptions{})
}

// AwaitPod waits until check accepts a pod. The error holds the pod's events.
func (c *Cluster) AwaitPod(ctx context.Context, limit time.Duration, namespace, name string, check func(*corev1.Pod) error) error {
	err := c.Await(ctx, limit, "pod "+name, func(ctx context.Context) error {
		pod, err := c.PodNow(ctx, namespace, name)
		if err != nil {
			return err
		}
		return check(pod)
	})
	if err != nil && ctx.Err() == nil {
		events, _ := c.Events(ctx, namespace, name)
		err = fmt.Errorf("%w\n%s", err, strings.Join(events, "\n"))
	}
	return err
}

// Running tells why not all containers of a pod run.
func Running(pod *corev1.Pod) error {
	if pod.Status.Phase != corev1.PodRunning {
		return fmt.Errorf("it is %s: %s %s", pod.Status.Phase, pod.Status.Reason, pod.Status.Message)
	}
	for _, s := range pod.Status.ContainerStatuses {
		if s.State.Running == nil {
			state, _ := json.Marshal(s.State)
			return fmt.Errorf("container %s: %s", s.Name, state)
		}
	}
	return nil
}

// Events are those of a pod, oldest first: "Reason: message".
func (c *Cluster) Events(ctx context.Context, namespace, name string) ([]string, error) {
	list, err := c.client.CoreV1().Events(cmp.Or(namespace, metav1.NamespaceDefault)).
		List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(list.Items, func(a, b corev1.Event) int { return a.LastTimestamp.Compare(b.LastTimestamp.Time) })
	var events []string
	for _, e := range list.Items {
		events = append(events, e.Reason+": "+e.Message)
	}
	return events, nil
}

// PodLogs is what the first container of a pod has printed, as kubectl logs tells it.
func (c *Cluster) PodLogs(ctx context.Context, namespace, name string) (string, error) {
	r := c.Admin().Try(ctx, "", "logs", name, "-n", cmp.Or(namespace, metav1.NamespaceDefault))
	return r.Stdout, r.Err
}

// Exec runs a command in the first container of a pod and returns what it prints.
func (c *Cluster) Exec(ctx context.Context, namespace, name string, command ...string) (string, error) {
	r := c.Admin().Try(ctx, "", append([]string{"exec", name, "-n", cmp.Or(namespace, metav1.NamespaceDefault), "--"}, command...)...)
	return r.Stdout, r.Err
}

// ReadPorts waits until ReadFunctions has come to its end, and returns the ports that the container sees, each with
// what afu-read said of it: an AFU id, or why there is none.
func (c *Cluster) ReadPorts(ctx context.Context, limit time.Duration, namespace, name string) (map[string]string, error) {
	ports := map[string]string{}
	err := c.Await(ctx, limit, "log of "+name, func(ctx context.Context) error {
		log, err := c.PodLogs(ctx, namespace, name)
		if err != nil {
			return err
		}
		if !strings.HasSuffix(log, "ready\n") {
			return fmt.Errorf("so far: %q", log)
		}
		for line := range strings.Lines(log) {
			if name, id, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "port "), " "); ok {
				ports[name] = id
			}
		}
		return nil
	})
	return ports, err
}

// DeletePod deletes a pod; it may be gone already.
func (c *Cluster) DeletePod(ctx context.Context, namespace, name string) error {
	err := c.client.CoreV1().Pods(cmp.Or(namespace, metav1.NamespaceDefault)).Delete(ctx, name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// AwaitGone waits until a pod is gone.
func (c *Cluster) AwaitGone(ctx context.Context, limit time.Duration, namespace, name string) error {
	return c.Await(ctx, limit, "end of pod "+name, func(ctx context.Context) error {
		_, err := c.PodNow(ctx, namespace, name)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("it is still there")
		}
		return err
	})
}

// Function is the manifest of an AcceleratorFunction. Mode is af or region.
func Function(namespace, name, iface, afu, mode string) string {
	return fmt.Sprintf("---\n{apiVersion: fpga.intel.com/v2, kind: AcceleratorFunction, metadata: {name: %s, namespace: %s}, spec: {afuId: %q, interfaceId: %q, mode: %s}}\n",
		name, cmp.Or(namespace, metav1.NamespaceDefault), afu, iface, mode)
}

// admittedInARow is how many questions must be answered well in a row: which of the webhook's replicas is asked is chance.
const admittedInARow = 4

// Grant applies a mapping to a namespace and waits until the webhook admits pods by it, which takes it some
// milliseconds.
func (c *Cluster) Grant(ctx context.Context, limit time.Duration, namespace, name, afu, mode string) error {
	if r := c.Admin().Try(ctx, Function(namespace, name, emulator.DefaultInterface, afu, mode), "apply", "-f", "-"); r.Err != nil {
		return r.Err
	}
	asks := PodSpec{Name: "asks-for-" + name, Namespace: namespace, Resources: map[string]int64{"fpga.intel.com/" + name: 1}}
	return c.AwaitAdmitted(ctx, limit, asks)
}

// AwaitAdmitted waits until a pod would be admitted, whichever of the webhook's replicas is asked. It creates none.
func (c *Cluster) AwaitAdmitted(ctx context.Context, limit time.Duration, s PodSpec) error {
	pod := s.Pod()
	admitted := 0
	return c.Await(ctx, limit, "admission of pod "+s.Name, func(ctx context.Context) error {
		_, err := c.client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			admitted = 0
			return err
		}
		if admitted++; admitted < admittedInARow {
			return fmt.Errorf("admitted %d times", admitted)
		}
		return nil
	})
}
