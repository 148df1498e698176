package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/inlay-project/inlay/fpga/region"
	"github.com/inlay-project/inlay/internal/journal"
)

// program makes the ports of one container ready: what inlay-nri granted stands in the arguments, not in anything that
// a pod can write.
func program(ctx context.Context, args []string) error {
	o := options{}
	flags := o.flags("program")
	w := worker{}
	flags.StringVar(&w.mode, "mode", modeRegion, "af, region or regiondevel")
	flags.StringVar(&w.container, "for", "", "namespace/pod/container, for the journal")
	var pairs []pair
	flags.Func("pair", "<port>@<PCI address>=<interface>/<function>; may be given several times", func(s string) error {
		p, err := parsePair(s)
		pairs = append(pairs, p)
		return err
	})
	if err := o.parse(flags, args); err != nil {
		return err
	}
	if len(pairs) == 0 {
		return errors.New("program: no --pair is given")
	}
	var err error
	if w.p, err = o.programmer(); err != nil {
		return err
	}
	ctx, cancel := o.deadline(ctx)
	defer cancel()
	return w.all(ctx, pairs)
}

// deadline ends all waiting.
func (o *options) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, o.timeout, gaveUpError{o.timeout})
}

// gaveUpError is context.DeadlineExceeded in words that a pod's owner understands.
type gaveUpError struct{ after time.Duration }

func (g gaveUpError) Error() string        { return fmt.Sprintf("gave up after %s", g.after) }
func (g gaveUpError) Is(target error) bool { return target == context.DeadlineExceeded }

// worker does for the ports of one container what their mode asks for.
type worker struct {
	p         *region.Programmer
	mode      string
	container string // for the journal
}

// one readies a port.
func (w worker) one(ctx context.Context, p pair) (region.Result, error) {
	switch w.mode {
	case modeRegion:
		return w.p.Ensure(ctx, p.request())
	case modeAF:
		return region.Result{}, w.p.CheckLoaded(ctx, p.request())
	case modeRegiondevel:
		return region.Result{}, w.p.MarkForeign(ctx, p.request())
	}
	return region.Result{}, fmt.Errorf("mode %.40q is not af, region or regiondevel", w.mode)
}

// all works on all ports at once: those on one FME take turns at its lock. The first failure ends the others' waits;
// a reconfiguration that has begun is seen through, so that the next try finds it done and recorded.
func (w worker) all(ctx context.Context, pairs []pair) error {
	if err := checkPairs(w.mode, pairs); err != nil {
		return err
	}
	if len(pairs) == 1 { // the usual case; a goroutine would cost a thread's start
		return w.journaled(ctx, pairs[0])
	}
	waits, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errs := make([]error, len(pairs))
	var jobs sync.WaitGroup
	for i, p := range pairs {
		jobs.Go(func() {
			defer func() {
				if errs[i] = caught(recover(), errs[i]); errs[i] != nil {
					cancel(errAnother)
				}
			}()
			errs[i] = w.journaled(waits, p)
		})
	}
	jobs.Wait()
	err := joined(errs)
	if err != nil {
		w.seeThrough(ctx)
	}
	return err
}

// seeThrough waits for reconfigurations that nobody waits for any more, as long as ctx allows.
func (w worker) seeThrough(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		w.p.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done(): // the kernel finishes it; the next try finds the port's record marked
	}
}

// journaled readies a port and notes what came of it. A journal that cannot be written stops nobody.
func (w worker) journaled(ctx context.Context, p pair) error {
	res, err := w.one(ctx, p)
	entry := journal.Entry{
		Time: time.Now(), Mode: w.mode, Container: w.container, Device: p.port, Function: string(p.function),
		Programmed: res.Programmed, Waited: res.Waited, PR: res.PR,
	}
	if err != nil {
		entry.Error, entry.Reason = oneLine(err.Error()), region.Reason(err)
	}
	_ = journal.Append(w.p.RunDir, entry)
	return err
}

var errAnother = errors.New("another port of the container failed")

// joined makes one error of several. Ports that gave up only because another failed are left out.
func joined(errs []error) error {
	var texts []string
	var first error
	for _, err := range errs {
		if err == nil || errors.Is(err, errAnother) {
			continue
		}
		if first == nil {
			first = err
		}
		texts = append(texts, err.Error())
	}
	if len(texts) < 2 {
		return first
	}
	return errors.New(strings.Join(texts, "; "))
}
