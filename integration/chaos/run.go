package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/inlay-project/inlay/integration/cluster"
)

// Options are what Run needs; Tools, Steps and Log are a must.
type Options struct {
	// Cluster chooses the runtime and the tools; cards and the kubelet's settings are chaos's own.
	Cluster cluster.Options
	Steps   []Step
	// Next is a folder with images of another version than the tools', for upgrades.
	Next string
	// Log is told what is done, a line a step.
	Log io.Writer
	// Name is that of the folder which logs are kept in if a promise was broken.
	Name string
	// Until ends the run at a violation that it accepts, in the middle of a pause too; nil accepts none.
	Until func(Violation) bool
}

// cards of both drivers, with one port and with two. Each is one device in region mode.
func cards() []string {
	return []string{"dfl:ports=2", "dfl:ports=1", "dfl:ports=1", "opae:ports=2", "opae:ports=1"}
}

// Devices are the names of the cards' devices, as steps call them.
func Devices() []string {
	return []string{"dfl-fme.0", "dfl-fme.1", "dfl-fme.2", "intel-fpga-fme.0", "intel-fpga-fme.1"}
}

// programming is how long the cards take: long enough for a hook to be killed in the middle.
const programming = "300ms"

// kubeletConfig makes the kubelet try again sooner than it would. Its ten seconds after a container that could not be
// created cannot be set.
const kubeletConfig = `crashLoopBackOff: {maxContainerRestartPeriod: 1s}
staticPodPath: /` + staticDir + `
`

// overlay is region mode with a limit for the age of the policy file, below which `clock` sets it.
const overlay = "integration/chaos/overlay"

// Run starts a cluster, installs Inlay, does the steps and ends the cluster. The error is of the experiment, not of
// what is tested: broken promises are in the report, which is never nil.
func Run(ctx context.Context, o Options) (*Report, error) {
	began := time.Now()
	c, err := cluster.New(ctx, withDefaults(o.Cluster))
	if err != nil {
		return newReport(), err
	}
	s, err := open(ctx, c, o.Log)
	if err != nil {
		return newReport(), errors.Join(err, c.Close())
	}
	err = s.run(ctx, o)
	s.report.Took = time.Since(began)
	if err != nil || len(s.report.Violations) > 0 {
		s.say("%s", s.story(o))
	}
	return s.report, errors.Join(err, c.Close())
}

func withDefaults(o cluster.Options) cluster.Options {
	o.Cards, o.KubeletConfig = cards(), kubeletConfig
	o.EmulatorFlags = []string{"--pr-delay", programming}
	return o
}

func (s *Scene) run(ctx context.Context, o Options) error {
	if err := s.install(ctx, o); err != nil {
		return err
	}
	s.until = o.Until
	looking, stop := context.WithCancel(ctx)
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		s.keepLooking(looking)
	}()
	defer func() { stop(); <-looked; s.tasks.Wait() }()
	s.say("the cluster is ready")
	if err := s.settle(ctx); err != nil {
		return err
	}
	s.report.Settles = nil
steps:
	for i, step := range o.Steps {
		select {
		case <-time.After(step.Pause):
		case <-s.enough:
			break steps
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		s.mu.Lock()
		s.step, s.done = i+1, append(s.done, step)
		s.report.Actions[step.Action+subject(step)]++
		s.mu.Unlock()
		if step.Action == settle {
			if err := s.settle(ctx); err != nil {
				return fmt.Errorf("step %d: %w", i+1, err)
			}
			if s.report.notWell {
				break steps // what follows would only tell of it again
			}
		} else {
			s.report.Steps++
			err := s.do(ctx, step)
			s.say("%4d  %s%s", i+1, step, because(err))
			if err != nil {
				s.report.NotDone++
			}
		}
		s.look(ctx)
		if len(s.report.Violations) >= mostViolations {
			return nil // it is enough to work on
		}
	}
	s.count()
	return nil
}

const mostViolations = 10

// subject is the part of a step that actions are counted by.
func subject(s Step) string {
	switch s.Action {
	case "kill", "freeze", "fill":
		return " " + s.Args[0]
	case "create", "fault", "bitstream":
		return " " + s.Args[1]
	}
	return ""
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return fmt.Sprintf("   (not done: %.120s)", err.Error())
}

// install brings Inlay to the cluster, in both versions, and the namespaces and mappings of the pods.
func (s *Scene) install(ctx context.Context, o Options) error {
	if err := os.MkdirAll(s.c.HostPath(staticDir), 0o755); err != nil {
		return err
	}
	first, err := s.c.ImageTag(ctx)
	if err != nil {
		return err
	}
	s.version, s.versions = first, []string{first}
	if o.Next != "" {
		if err := s.c.ImportImages(ctx, o.Next); err != nil {
			return err
		}
		tag, err := cluster.NodeImageTag(ctx, o.Next)
		if err != nil {
			return err
		}
		s.versions = append(s.versions, tag)
	}
	if err := s.c.Install(ctx, cluster.Install{Overlay: overlay}); err != nil {
		return err
	}
	for _, ns := range []string{team, strangers} {
		if err := s.c.Admin().Try(ctx, "", "create", "namespace", ns).Err; err != nil {
			return err
		}
	}
	return s.mendMappings(ctx)
}

// count asks the emulator's record how often the cards were programmed.
func (s *Scene) count() {
	all, err := s.c.Programmed()
	if err != nil {
		s.say("the emulator's record: %v", err)
		return
	}
	for _, r := range all {
		if r.Result == 0 {
			s.report.Programmed++
		} else {
			s.report.ProgramsFailed++
		}
	}
}

// story is what a finder of a violation needs: the steps so far, to be done again, and where the logs are.
func (s *Scene) story(o Options) string {
	text := fmt.Sprintf("steps so far (ParseSteps reads them; -replay FILE does them again):\n%s", Text(s.done))
	kept := s.c.KeepLogs(o.Name)
	return text + kept
}
