package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/cluster"
)

// apiLimit bounds one request of a step: the API server may be frozen.
const apiLimit = 2 * time.Second

// do does a step. An error says why it could not be done, which is no promise broken: much cannot be done in a cluster
// that is half dead.
func (s *Scene) do(ctx context.Context, step Step) error {
	ctx, cancel := context.WithTimeout(ctx, apiLimit)
	defer cancel()
	arg := func(i int) string { return step.Args[i] }
	if unregisters(step) {
		s.mu.Lock()
		begin(&s.away, awayPlugin)
		s.mu.Unlock()
	}
	switch step.Action {
	case "create":
		return s.create(ctx, arg(0), arg(1), arg(2))
	case "delete":
		return s.delete(ctx, arg(0))
	case "kill":
		return s.kill(ctx, arg(0))
	case "start":
		return s.start(arg(0))
	case "freeze":
		return s.freeze(arg(0))
	case "thaw":
		s.thaw(arg(0))
		return nil
	case "nri-socket":
		return s.nriSocket(arg(0))
	case "fill":
		return s.fill(arg(0))
	case "empty":
		return s.empty(arg(0))
	case "fault":
		return s.fault(arg(0), arg(1))
	case "heal":
		return s.fault(arg(0), "")
	case "bitstream":
		return s.store(arg(0), arg(1))
	case "clock":
		return s.clock(jumps[arg(0)])
	case "map":
		return s.mapTo(ctx, arg(0), s.meant(arg(0)))
	case "unmap":
		return s.unmap(ctx, arg(0))
	case "turn":
		return s.turn(ctx)
	case "restart":
		return s.patchDaemonSet(ctx, fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"restarted":%q}}}}}`, time.Now()))
	case "upgrade":
		return s.upgrade(ctx)
	}
	return fmt.Errorf("%q is no action", step.Action)
}

// create asks for a pod, and notes what became of it.
func (s *Scene) create(ctx context.Context, name, kind, function string) error {
	p, spec, err := newPod(name, kind, function)
	if err != nil {
		return err
	}
	if kind == kindStatic {
		return s.createStatic(p, spec)
	}
	s.mu.Lock()
	s.unsure[name] = p
	s.mu.Unlock()
	pod, err := s.c.CreatePod(ctx, spec)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.register(p, string(pod.UID), translated(pod))
		return nil
	}
	if said := apierrors.APIStatus(nil); errors.As(err, &said) && !apierrors.IsTimeout(err) && !apierrors.IsServerTimeout(err) {
		delete(s.unsure, name)
		s.refused[name] = err.Error()
		s.report.Refused[kind]++
		if p.Kind == kindPlain {
			s.pods["refused "+name] = p
		}
	}
	return err
}

// staticDir is where the kubelet finds pods that nobody else knows.
const staticDir = "etc/static-pods"

// createStatic gives a pod to the kubelet alone.
func (s *Scene) createStatic(p Pod, spec cluster.PodSpec) error {
	pod := spec.Pod()
	pod.UID = types.UID("static-" + p.Name)
	text, err := yaml.Marshal(pod)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.register(p, string(pod.UID), nil)
	begin(&s.static, p.Name)
	s.mu.Unlock()
	return os.WriteFile(s.staticFile(p.Name), text, 0o644)
}

func (s *Scene) staticFile(pod string) string { return s.c.HostPath(staticDir + "/" + pod + ".yaml") }

// removeStatic takes a pod away from the kubelet again.
func (s *Scene) removeStatic(name string) error {
	err := os.Remove(s.staticFile(name))
	if err == nil {
		s.mu.Lock()
		end(s.static, name)
		s.mu.Unlock()
	}
	return err
}

func (s *Scene) delete(ctx context.Context, name string) error {
	s.mu.Lock()
	p, ok := (&Seen{Pods: s.pods}).named(name)
	if !ok {
		p, ok = s.unsure[name]
	}
	s.mu.Unlock()
	switch {
	case !ok:
		return errors.New("it is not there")
	case p.Kind == kindStatic:
		return s.removeStatic(name)
	}
	return s.c.DeletePod(ctx, p.Namespace, name)
}

// liar is what a card loads that lies.
const liar = "11112222333344445555666677778888"

// illnesses are what can be wrong with a card.
var illnesses = map[string]emulator.Fault{
	"dead":      {Dead: true},
	"removed":   {Removed: true},
	"pr-fails":  {PRErrno: "EIO", PRStatus: []string{"crc"}},
	"pr-resets": {PRErrno: "EIO", PRLeavesReset: true},
	"pr-hangs":  {PRHang: true},
	"pr-lies":   {PRLoads: liar},
	"pr-none":   {PRLoads: "none"},
	"no-open":   {OpenErrno: "EIO"},
}

func faultNames() []string {
	return []string{"dead", "dead", "no-open", "pr-fails", "pr-hangs", "pr-lies", "pr-none", "pr-resets", "removed", "removed"}
}

// fault makes a card ill, or well; or all of them.
func (s *Scene) fault(device, what string) error {
	illness, known := illnesses[what]
	if what != "" && !known {
		return fmt.Errorf("%q is no fault", what)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults == nil {
		s.faults = emulator.Faults{}
	}
	for d := range s.cards {
		if device != allDevices && device != d {
			continue
		}
		end(s.faulty, d) // what it had before, if anything
		delete(s.faults, d)
		if what != "" {
			begin(&s.faulty, d)
			s.faults[d] = illness
		}
	}
	return s.c.SetFaults(s.faults)
}

// jumps are how far the clock is from what it was when the policy file was written.
var jumps = map[string]time.Duration{"ahead": 24 * time.Hour, "behind": -24 * time.Hour, "right": 0}

// functionsPath is where the team's mappings are in the API server.
const functionsPath = "/apis/fpga.intel.com/v2/namespaces/" + team + "/acceleratorfunctions"

// meant is where a mapping should lead.
func (s *Scene) meant(name string) string {
	if f, ok := functions[name]; ok {
		return f
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.mapped[name]; f != "" {
		return f
	}
	return functions[functionNames()[0]]
}

// mapTo makes a mapping lead to a function.
func (s *Scene) mapTo(ctx context.Context, name, function string) error {
	s.mu.Lock()
	s.mapped[name] = function
	s.mu.Unlock()
	object := cluster.Function(team, name, integration.Interface, function, "region")
	body, err := yaml.YAMLToJSON([]byte(strings.TrimPrefix(object, "---\n")))
	if err != nil {
		return err
	}
	return s.c.Client().RESTClient().Patch(types.ApplyPatchType).AbsPath(functionsPath, name).
		Param("fieldManager", "chaos").Param("force", "true").Body(body).Do(ctx).Error()
}

func (s *Scene) unmap(ctx context.Context, name string) error {
	return s.c.Client().RESTClient().Delete().AbsPath(functionsPath, name).Do(ctx).Error()
}

// turn makes the mapping that changes lead to another function.
func (s *Scene) turn(ctx context.Context) error {
	return s.mapTo(ctx, either, functions[otherThan(nameOf(s.meant(either)))])
}

// upgrade makes the DaemonSet's image that of the next version.
func (s *Scene) upgrade(ctx context.Context) error {
	s.mu.Lock()
	next := s.versions[(slices.Index(s.versions, s.version)+1)%len(s.versions)]
	s.version = next
	s.mu.Unlock()
	return s.patchDaemonSet(ctx, imagePatch(next))
}

// imagePatch gives all containers of the DaemonSet the image of a version.
func imagePatch(version string) string {
	container := func(name string) string {
		return fmt.Sprintf(`{"name":%q,"image":"docker.io/inlay/inlay-node:%s"}`, name, version)
	}
	return fmt.Sprintf(`{"spec":{"template":{"spec":{"initContainers":[%s],"containers":[%s,%s]}}}}`,
		container("install-hook"), container("inlay-deviceplugin"), container("inlay-nri"))
}

func (s *Scene) patchDaemonSet(ctx context.Context, patch string) error {
	_, err := s.c.Client().AppsV1().DaemonSets(cluster.NodeNamespace).
		Patch(ctx, cluster.NodeDaemonSet, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// inBackground does what takes its time; settle waits for it.
func (s *Scene) inBackground(f func() error) {
	s.tasks.Go(func() {
		if err := f(); err != nil {
			s.say("in the background: %v", err)
		}
	})
}
