package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/containerd/nri/pkg/api"
	"github.com/sirupsen/logrus"
)

const (
	// leastMargin is kept between our deadline and the runtime's, for the answer's way through a loaded machine.
	leastMargin = 250 * time.Millisecond
	// maxLastWords is how long a late Adjust that heeds its context has to say what it was waiting for.
	maxLastWords = 50 * time.Millisecond
	// maxErrorText keeps an error within what a pod event shows (1024 bytes, with the runtime's own words around it).
	maxErrorText = 800
)

var (
	errOwnDeadline = errors.New("no answer in time")
	errBusy        = fmt.Errorf("%d earlier requests still hang", MaxRunning)
	errStopping    = errors.New("inlay-nri is stopping")
)

// slots bound the running Adjust calls.
type slots chan struct{}

func (s slots) busy() bool { return len(s) > 0 }

// drain waits until all calls have ended, for limit at most, and returns how many have not.
func (s slots) drain(limit time.Duration) int {
	t := time.NewTimer(limit)
	defer t.Stop()
	taken := 0
	defer func() {
		for range taken {
			<-s
		}
	}()
	for taken < cap(s) {
		select {
		case s <- struct{}{}:
			taken++
		case <-t.C:
			return len(s) - taken
		}
	}
	return 0
}

// ownDeadline is when we refuse: the runtime's deadline less 20 % of the time left, at least 250 ms, but never more
// than half of it (a runtime may be set to a very short timeout).
func ownDeadline(now time.Time, deadline time.Time) time.Time {
	left := deadline.Sub(now)
	margin := min(max(left/5, leastMargin), left/2)
	return deadline.Add(-margin)
}

// wants asks the Adjuster, whose panic must not end the process. It refuses the container too: whether it is plain or
// ours is what could not be found out.
func (e *Engine) wants(pod *api.PodSandbox, ctr *api.Container) (ours bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = e.panicked(pod, ctr, p)
		}
	}()
	return e.opts.Adjuster.Wants(pod, ctr), nil
}

// answer is what a call of Adjust came to.
type answer struct {
	adjustment *api.ContainerAdjustment
	result     Result
	err        error
}

// adjust runs the Adjuster in a goroutine and waits for it until our own deadline, no longer.
func (s *session) adjust(ctx context.Context, pod *api.PodSandbox, ctr *api.Container) (*api.ContainerAdjustment, Result, error) {
	s.mu.Lock()
	stopping, limit := s.stopping, s.requestTimeout
	s.mu.Unlock()
	if stopping {
		return nil, ResultBusy, errStopping
	}
	now := time.Now()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = now.Add(limit)
	}
	own := ownDeadline(now, deadline)

	e := s.engine
	select {
	case e.slots <- struct{}{}:
	default:
		return nil, ResultBusy, errBusy
	}
	wctx, cancel := context.WithDeadlineCause(ctx, own, errOwnDeadline)
	defer cancel() // here and not in the goroutine: an answer must not look like an ended context
	answered := make(chan answer, 1)
	var left atomic.Bool // nobody waits for the answer any more
	go func() {
		defer func() { <-e.slots }()
		answered <- e.call(wctx, pod, ctr)
		if left.Load() {
			e.entry(pod, ctr).WithField("duration", time.Since(now).String()).Warn("the adjuster ended long after its deadline")
		}
	}()

	var a answer
	select {
	case a = <-answered:
	case <-wctx.Done():
		a = lastWords(answered, deadline.Sub(own)/4, &left)
	}
	// What was answered in time holds, however late it is read.
	if a.result == ResultTimeout {
		return nil, ResultTimeout, late(wctx, now, deadline, a.err)
	}
	return a.adjustment, a.result, a.err
}

// lastWords waits a moment for an Adjust that heeds its context, for it says what it was waiting for: worth having in
// the pod's event. After that nobody waits, and left says so.
func lastWords(answered <-chan answer, limit time.Duration, left *atomic.Bool) answer {
	grace := time.NewTimer(min(maxLastWords, limit))
	defer grace.Stop()
	select {
	case a := <-answered:
		return a
	case <-grace.C:
		left.Store(true)
		return answer{result: ResultTimeout}
	}
}

// late words the end of a request by its deadline, or by the runtime; said is what Adjust made of it.
func late(ctx context.Context, began, deadline time.Time, said error) error {
	cause := context.Cause(ctx)
	if !errors.Is(cause, errOwnDeadline) {
		return fmt.Errorf("request ended by the runtime: %w", cause)
	}
	err := fmt.Errorf("%w (%v of the runtime's %v)", errOwnDeadline,
		time.Since(began).Round(time.Millisecond), deadline.Sub(began).Round(time.Millisecond))
	if said != nil {
		err = fmt.Errorf("%w: %w", err, said)
	}
	return err
}

// call is one call of Adjust. Whatever it returns after its context has ended counts as late.
func (e *Engine) call(ctx context.Context, pod *api.PodSandbox, ctr *api.Container) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			a = answer{result: ResultPanic, err: e.panicked(pod, ctr, p)}
		}
	}()
	adjustment, err := e.opts.Adjuster.Adjust(ctx, pod, ctr)
	switch {
	case ctx.Err() != nil:
		return answer{result: ResultTimeout, err: err}
	case err != nil:
		return answer{result: ResultRefused, err: err}
	}
	return answer{adjustment: adjustment, result: ResultAdjusted}
}

func (e *Engine) panicked(pod *api.PodSandbox, ctr *api.Container, p any) error {
	err := fmt.Errorf("internal error: %v", p)
	e.entry(pod, ctr).WithField("panic", p).Error("the adjuster panicked")
	e.entry(pod, ctr).Debugf("%s", debug.Stack())
	return err
}

// refuse logs a refusal and words it for the pod's event. The error has no chain: the runtime gets text, and one that
// looked like a context error there would count as our death and let the container start.
func (e *Engine) refuse(pod *api.PodSandbox, ctr *api.Container, result Result, took time.Duration, err error) error {
	text := oneLine(err.Error())
	e.entry(pod, ctr).WithFields(logrus.Fields{"duration": took.String(), "result": string(result), "reason": text}).Warn("container refused")
	return fmt.Errorf("inlay-nri refused %s: %s", identity(pod, ctr), text)
}

func (e *Engine) entry(pod *api.PodSandbox, ctr *api.Container) *logrus.Entry {
	return e.log.WithFields(logrus.Fields{"pod": pod.GetName(), "namespace": pod.GetNamespace(), "container": containerName(ctr)})
}

func identity(pod *api.PodSandbox, ctr *api.Container) string {
	return fmt.Sprintf("pod %s/%s container %s", pod.GetNamespace(), pod.GetName(), containerName(ctr))
}

// containerName falls back to the id: CRI-O before 1.37 sends no name for clients other than the kubelet.
func containerName(ctr *api.Container) string {
	if name := ctr.GetName(); name != "" {
		return name
	}
	return ctr.GetId()
}

// oneLine makes text fit for an event: one line, no control characters, of bounded length.
func oneLine(text string) string {
	text = strings.ReplaceAll(strings.TrimSpace(text), "\n", "; ")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > maxErrorText {
		cut := maxErrorText
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "…"
	}
	return text
}
