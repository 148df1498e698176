package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/inlay-project/inlay/integration/cluster"
	"github.com/inlay-project/inlay/integration/ocitest"
)

const (
	// mendLimit bounds the mending: programs are started, on a machine that is busy.
	mendLimit = 3 * time.Minute
	// restLimit is within what everything that can run has to run. The kubelet looks at a pod whose start failed again
	// after ten seconds and more, and so does a controller: a few rounds of both, on a machine that is busy.
	restLimit = 5 * time.Minute
	restEvery = 200 * time.Millisecond
	askLimit  = 5 * time.Second
)

// settle mends everything that steps have broken, in no order that a program could rely on, and waits until the
// promises of a cluster at rest are kept.
func (s *Scene) settle(ctx context.Context) error {
	began := time.Now()
	if err := s.mend(ctx); err != nil {
		return fmt.Errorf("what was broken cannot be mended: %w", err)
	}
	mended := time.Now()
	var state Settled
	broken := map[string][]string{}
	for {
		var err error
		if state, err = s.rest(ctx); err == nil {
			clear(broken)
			for _, promise := range AtRest() {
				if b := promise.Check(state); len(b) > 0 {
					broken[promise.Name] = b
				}
			}
			if len(broken) == 0 {
				break
			}
		} else {
			broken["the look itself"] = []string{err.Error()}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(mended) > restLimit {
			break
		}
		time.Sleep(restEvery)
	}
	s.mu.Lock()
	for name, texts := range broken {
		for _, text := range texts {
			s.violated(name, fmt.Sprintf("%v after everything was mended: %s", restLimit, text))
		}
	}
	if len(broken) == 0 {
		end(s.away, awayPlugin)
	}
	rested := time.Since(mended)
	s.report.notWell = len(broken) > 0
	s.report.Settles = append(s.report.Settles, rested)
	s.mu.Unlock()
	s.forgetUnsure(ctx)
	s.disturbedPlain(ctx)
	running, waiting := count(state)
	s.say("settled: mended in %.1f s, at rest after %.1f s; %d pods run, %d wait for a card", mended.Sub(began).Seconds(), rested.Seconds(), running, waiting)
	if len(broken) > 0 {
		s.say("%s", s.c.Describe(ctx, team))
		s.say("%s", s.c.Describe(ctx, cluster.NodeNamespace))
	}
	return nil
}

func count(state Settled) (running, waiting int) {
	for _, p := range state.Pods {
		switch {
		case p.waits():
			waiting++
		case p.Ready:
			running++
		}
	}
	return running, waiting
}

// mend makes the world whole: all programs run, disks have room, cards are well, files and mappings are what they should be.
func (s *Scene) mend(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, mendLimit)
	defer cancel()
	s.mu.Lock()
	if s.stopHunt != nil {
		s.stopHunt()
		s.stopHunt = nil
	}
	frozen := slices.Sorted(maps.Keys(s.frozen))
	s.mu.Unlock()
	for _, name := range frozen {
		s.thaw(name)
	}
	s.tasks.Wait() // starts under way, files being written, hunts
	s.mu.Lock()
	frozen = slices.Sorted(maps.Keys(s.frozen)) // a hunt's last prey
	s.mu.Unlock()
	for _, name := range frozen {
		s.thaw(name)
	}
	var errs []error
	for _, c := range s.c.Components() {
		name := c.Name()
		if c == s.c.Runtime {
			name = programRuntime
		}
		if err := c.Start(ctx); err != nil {
			errs = append(errs, err, c.Restart(ctx))
		}
		s.resume(name)
	}
	for _, f := range folders() {
		errs = append(errs, s.empty(f))
	}
	errs = append(errs, s.fault(allDevices, ""))
	for f := range functions {
		errs = append(errs, s.store(f, stateGood))
	}
	if err := s.nriSocket("back"); err != nil {
		errs = append(errs, err)
	}
	s.tasks.Wait()
	if err := s.clock(jumps["right"]); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.say("policy file: %v", err) // the mirror writes it
	}
	errs = append(errs, s.mendMappings(ctx), s.removeStatics())
	return errors.Join(errs...)
}

func (s *Scene) removeStatics() error {
	files, err := os.ReadDir(s.c.HostPath(staticDir))
	for _, f := range files {
		err = errors.Join(err, s.removeStatic(strings.TrimSuffix(f.Name(), ".yaml")))
	}
	return err
}

// mendMappings waits for the API server as long as it takes.
func (s *Scene) mendMappings(ctx context.Context) error {
	for _, name := range mappingNames() {
		err := s.c.Await(ctx, mendLimit, "mapping "+name, func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, askLimit)
			defer cancel()
			return s.mapTo(ctx, name, s.meant(name))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rest looks at a cluster that should be at rest, and does what a pod's controller does: it makes failed pods anew.
func (s *Scene) rest(ctx context.Context) (Settled, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	state := Settled{Cards: s.cards}
	var err error
	if state.Devices, err = s.c.Devices(ctx, regionResource); err != nil {
		return state, err
	}
	if state.Allocatable, err = s.c.Allocatable(ctx, regionResource); err != nil {
		return state, err
	}
	if state.NotReady, err = s.notReady(ctx); err != nil {
		return state, err
	}
	s.mu.Lock()
	for _, f := range s.mapped {
		state.Mapped = append(state.Mapped, f)
	}
	state.Granted = s.granted()
	s.mu.Unlock()
	slices.Sort(state.Mapped)
	state.Mapped = slices.Compact(state.Mapped)
	list, err := s.c.Client().CoreV1().Pods(team).List(ctx, metav1.ListOptions{})
	if err != nil {
		return state, err
	}
	for i := range list.Items {
		if err := s.restOf(ctx, &list.Items[i], &state); err != nil {
			return state, err
		}
	}
	return state, nil
}

func (s *Scene) restOf(ctx context.Context, pod *corev1.Pod, state *Settled) error {
	s.mu.Lock()
	p, known := s.pods[string(pod.UID)]
	s.mu.Unlock()
	if !known {
		return fmt.Errorf("pod %s is nobody's", pod.Name) // its creator's answer was lost, and is being looked for
	}
	one := State{Pod: p, Phase: string(pod.Status.Phase), Scheduled: pod.Spec.NodeName != ""}
	if pod.DeletionTimestamp != nil {
		one.Phase = "going"
	}
	if err := cluster.Running(pod); err != nil {
		one.Reason = err.Error()
	} else {
		one.Ready = pod.DeletionTimestamp == nil
	}
	state.Pods = append(state.Pods, one)
	if pod.DeletionTimestamp != nil {
		return nil
	}
	switch pod.Status.Phase {
	case corev1.PodSucceeded:
		s.mu.Lock()
		s.report.Done++
		s.mu.Unlock()
		return s.c.DeletePod(ctx, p.Namespace, p.Name) // nobody asks for it any more
	case corev1.PodFailed:
	default:
		return nil
	}
	s.failed(p, failureOf(pod))
	return s.anew(ctx, p, pod)
}

// failed counts a pod that has failed for good, and judges it.
func (s *Scene) failed(p Pod, f Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.Failed[f.words()]++
	if p.Kind == kindPlain {
		s.violated("nothing-disturbed", fmt.Sprintf("pod %s asks for nothing and failed: %s %s", p.Name, f.Reason, f.Message))
		return
	}
	trouble := Trouble{Cards: s.cards, Away: s.away, Static: s.static, Faulty: s.faulty}
	if why := trouble.unexcused(f); why != "" {
		s.violated("nobody-turned-away", fmt.Sprintf("pod %s (%s) failed for good: %s %s: %s", p.Name, p.Kind, f.Reason, f.Message, why))
	}
}

// anew replaces a pod that has failed for good, under another name, as its controller would.
func (s *Scene) anew(ctx context.Context, p Pod, pod *corev1.Pod) error {
	s.say("pod %s failed for good, and is made anew: %s %s", p.Name, pod.Status.Reason, pod.Status.Message)
	if err := s.c.DeletePod(ctx, p.Namespace, p.Name); err != nil {
		return err
	}
	function := functionNames()[0]
	if len(p.Functions) > 0 {
		function = nameOf(p.Functions[0])
	}
	return s.create(ctx, p.Name+"x", p.Kind, function)
}

// notReady are Inlay's pods that are not ready, and the DaemonSet's that are not of the last version.
func (s *Scene) notReady(ctx context.Context) ([]string, error) {
	var not []string
	ds, err := s.c.Client().AppsV1().DaemonSets(cluster.NodeNamespace).Get(ctx, cluster.NodeDaemonSet, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if st := ds.Status; st.ObservedGeneration != ds.Generation || st.UpdatedNumberScheduled != 1 || st.NumberReady != 1 {
		not = append(not, fmt.Sprintf("DaemonSet %s: %d updated, %d ready", ds.Name, st.UpdatedNumberScheduled, st.NumberReady))
	}
	d, err := s.c.Client().AppsV1().Deployments(cluster.SystemNamespace).Get(ctx, cluster.WebhookName, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if st := d.Status; st.ReadyReplicas != *d.Spec.Replicas {
		not = append(not, fmt.Sprintf("Deployment %s: %d of %d ready", d.Name, st.ReadyReplicas, *d.Spec.Replicas))
	}
	return not, nil
}

// disturbedPlain looks through the events of pods that ask for nothing: none may speak of Inlay.
func (s *Scene) disturbedPlain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	list, err := s.c.Client().CoreV1().Events(team).List(ctx, metav1.ListOptions{})
	if err != nil {
		return // the events stay an hour: the next settle sees them
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range list.Items {
		p, ok := s.pods[string(e.InvolvedObject.UID)]
		if ok && p.Kind == kindPlain && mentionsInlay(e.Message) {
			s.violated("nothing-disturbed", fmt.Sprintf("pod %s asks for nothing: %s: %s", p.Name, e.Reason, e.Message))
		}
	}
}

// mentionsInlay says whether words about a pod are ours. The test's image is called so too.
func mentionsInlay(text string) bool {
	text = strings.ReplaceAll(strings.ToLower(text), ocitest.WorkloadName, "")
	return strings.Contains(text, "inlay") || strings.Contains(text, "fpga")
}
