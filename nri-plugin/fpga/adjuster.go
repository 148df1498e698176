package fpga

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/fpga/region"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/nodestate"
	"github.com/inlay-project/inlay/internal/podresources"
	"github.com/inlay-project/inlay/internal/policy"
	"github.com/inlay-project/inlay/internal/record"
)

// Kubelet tells who holds which devices.
type Kubelet interface {
	List(ctx context.Context) (*podresources.Listing, error)
}

// Config is where the adjuster finds things. Host paths are the host's own, without the root's prefix.
type Config struct {
	Root         *hostfs.Root
	RunDir       string // as this process sees it
	Store        string // host path of the bitstream store
	MaxBitstream int64

	Hook Hook

	Policy       string // policy file as this process sees it; "" = the environment is believed, and logged
	PolicyMaxAge time.Duration
	Kubelet      Kubelet // nil = no kubelet on this node
	Mode         string  // the node's mode; "" = what inlay-deviceplugin says in the run folder

	Log logrus.FieldLogger
}

// Adjuster answers for FPGA containers. It implements engine.Adjuster and is safe for concurrent use.
type Adjuster struct{ c Config }

// New makes an adjuster.
func New(c Config) *Adjuster { return &Adjuster{c: c} }

// Wants claims containers with an allocation record, those of pods that forge one, and those that somebody else gave
// nodes of cards.
func (a *Adjuster) Wants(pod *api.PodSandbox, ctr *api.Container) bool {
	return record.Present(ctr.GetAnnotations()) || record.Present(pod.GetAnnotations()) || hasCardNodes(ctr)
}

// request is a container's request on its way to a grant.
type request struct {
	pod         *api.PodSandbox
	ctr         *api.Container
	allocations []record.Allocation
	devices     []device
	wishes      []region.Wish
	mode        string
}

// containerName falls back to the id: CRI-O before 1.37 sends no name for clients other than the kubelet.
func (r *request) containerName() string {
	if name := r.ctr.GetName(); name != "" {
		return name
	}
	return r.ctr.GetId()
}

// Adjust implements engine.Adjuster.
func (a *Adjuster) Adjust(ctx context.Context, pod *api.PodSandbox, ctr *api.Container) (*api.ContainerAdjustment, error) {
	began := time.Now()
	r := &request{pod: pod, ctr: ctr}
	for _, step := range []func(context.Context, *request) error{
		a.readRecord, a.findDevices, a.refuseEarlier, a.chooseMode, a.askKubelet, a.askPolicy, a.checkHook,
	} {
		if err := step(ctx, r); err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	g, err := a.grant(r)
	if err != nil {
		return nil, err
	}
	adjust, err := a.adjustment(r, g)
	if err != nil {
		return nil, err
	}
	a.log(r, g, time.Since(began))
	return adjust, nil
}

// readRecord takes the allocation record, which only the kubelet's answer may have put there.
func (a *Adjuster) readRecord(_ context.Context, r *request) error {
	if keys := record.Keys(r.pod.GetAnnotations()); len(keys) > 0 {
		return fmt.Errorf("the pod itself carries the annotation %.120s, which only the device plugin may set", keys[0])
	}
	var err error
	r.allocations, err = record.Parse(r.ctr.GetAnnotations())
	return err
}

func (a *Adjuster) nodeMode() (string, error) {
	if a.c.Mode != "" {
		return a.c.Mode, nil
	}
	s, err := nodestate.Read(a.c.RunDir)
	return s.Mode, err
}

// chooseMode tells how the devices are meant. An af resource says so by its name. A region resource has one name in
// two modes: the node's mode decides, and a pod that was made for the other one is refused.
func (a *Adjuster) chooseMode(_ context.Context, r *request) error {
	af := 0
	for _, d := range r.devices {
		if d.af != "" {
			af++
		}
	}
	switch {
	case af == len(r.devices):
		r.mode = modeAF
		return nil
	case af > 0:
		return errors.New("the container has af and region resources, which do not go together")
	}
	var err error
	asks := region.Asks(r.ctr.GetEnv())
	if asks {
		if r.wishes, err = region.Wishes(r.ctr.GetEnv()); err != nil {
			return err
		}
	}
	mode, err := a.nodeMode()
	switch {
	case err == nil && mode == modeRegiondevel && asks:
		return errors.New("this node's mode is regiondevel: it programs no functions, and the container asks for one (FPGA_AFU_n)")
	case err == nil && mode == modeRegiondevel:
		r.mode = modeRegiondevel
		return nil
	case err == nil && !asks:
		return fmt.Errorf("this node's mode is %s: a region comes with a function, and the container asks for none (FPGA_AFU_n)", mode)
	case !asks:
		return fmt.Errorf("the container asks for no function (FPGA_AFU_n), and %w", err)
	}
	r.mode = modeRegion
	return nil
}

// askPolicy holds what is asked for against the mappings of the pod's namespace.
func (a *Adjuster) askPolicy(_ context.Context, r *request) error {
	if a.c.Policy == "" {
		return nil
	}
	p, err := policy.Read(a.c.Policy, a.c.PolicyMaxAge, time.Now())
	if err != nil {
		return fmt.Errorf("nothing is granted: %w", err)
	}
	ns := r.pod.GetNamespace()
	if r.mode == modeRegion {
		for _, w := range r.wishes {
			if err := allows(p, ns, policy.ModeRegion, w); err != nil {
				return err
			}
		}
		return nil
	}
	for _, d := range r.devices {
		i := d.fme.Interface
		if r.mode == modeRegiondevel {
			if !p.AllowsRegion(ns, string(i)) {
				return fmt.Errorf("namespace %s has no FpgaRegion for interface %s", ns, i)
			}
		} else if err := allows(p, ns, policy.ModeAF, region.Wish{Interface: i, Function: d.af}); err != nil {
			return err
		}
	}
	return nil
}

// allows asks for a mapping with exactly these ids; one of the other mode is named, because it is easily taken for one.
func allows(p *policy.Policy, ns string, mode policy.Mode, w region.Wish) error {
	if p.AllowsFunction(ns, mode, string(w.Interface), string(w.Function)) {
		return nil
	}
	other, hint := policy.ModeAF, ""
	if mode == policy.ModeAF {
		other = policy.ModeRegion
	}
	if p.AllowsFunction(ns, other, string(w.Interface), string(w.Function)) {
		hint = fmt.Sprintf("; it has one of mode %s", other)
	}
	return fmt.Errorf("namespace %s has no AcceleratorFunction of mode %s for interface %s, function %s%s", ns, mode, w.Interface,
		w.Function, hint)
}

// Missing says what keeps every FPGA container from being granted now, a line each.
func (a *Adjuster) Missing() []string {
	var lines []string
	if err := a.c.Hook.check(); err != nil {
		lines = append(lines, err.Error())
	}
	if a.c.Policy != "" {
		if _, err := policy.Read(a.c.Policy, a.c.PolicyMaxAge, time.Now()); err != nil {
			lines = append(lines, fmt.Sprintf("nothing is granted: %v", err))
		}
	}
	return lines
}

func (a *Adjuster) checkHook(_ context.Context, _ *request) error { return a.c.Hook.check() }

func (a *Adjuster) log(r *request, g grant, took time.Duration) {
	l := a.c.Log.WithFields(logrus.Fields{
		"namespace": r.pod.GetNamespace(), "pod": r.pod.GetName(), "container": r.containerName(), "mode": r.mode,
		"duration": took.Round(time.Microsecond).String(),
	})
	for _, p := range g.pairs {
		entry := l.WithFields(logrus.Fields{"device": p.port, "function": p.function})
		if a.c.Policy == "" {
			entry.Warn("granted on the container's own word: no --policy is set")
			continue
		}
		entry.Info("granted")
	}
}
