package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/fpga/region"
)

// prReport is what pr did.
type prReport struct {
	File       string  `json:"file"`
	Port       string  `json:"port"`
	Before     loaded  `json:"before"`
	After      *loaded `json:"after,omitempty"`
	DryRun     bool    `json:"dryRun"`
	Programmed bool    `json:"programmed"`
	Seconds    float64 `json:"seconds,omitempty"` // the PR call alone
	Error      string  `json:"error,omitempty"`
}

// loaded is what a port reads as.
type loaded struct {
	Interface string `json:"interface"`
	AFU       string `json:"afu"`
}

func (l loaded) String() string {
	return fmt.Sprintf("Interface ID: %s AFU ID: %s", l.Interface, l.AFU)
}

func holds(fme *fpga.FME, port *fpga.Port) loaded {
	return loaded{Interface: string(fme.Interface), AFU: string(port.AFU)}
}

// pr programs a port, whatever it holds. The checks come first; a dry run ends there, without any ioctl.
func (t *tool) pr(ctx context.Context) error {
	b, err := t.openBitstream()
	if err != nil {
		return err
	}
	info := b.Info()
	_, err = b.Payload()
	b.Close() // Ensure opens it again under the card's lock
	if err != nil {
		return err
	}
	fme, port, err := t.port()
	if err != nil {
		return err
	}
	store, err := t.root.HostPath(t.options.store)
	if err != nil {
		return err
	}
	r := prReport{File: info.Path, Port: port.Name, Before: holds(fme, port), DryRun: t.options.dryRun}
	t.say("Before: %v\n", r.Before)
	if err := region.CheckIdentity(fme, "", info.Interface); err != nil {
		return t.outcome(r, fmt.Errorf("%s: %w", info.Path, err))
	}
	if r.DryRun {
		t.say("Dry run: nothing was programmed\n")
		return t.printPR(r)
	}
	if err := t.callFME(fme, func(fpga.Driver, *os.File) error { return nil }); err != nil {
		return t.outcome(r, err)
	}
	res, err := t.program(ctx, &region.Programmer{
		Root: t.root, RunDir: t.options.runDir, Store: store, MaxBitstream: t.options.maxBitstream,
	}, region.Request{
		Port: port.Name, FME: fme.PCI.Address, Interface: info.Interface, Function: info.Unique, File: t.options.bitstream,
		Force: true,
	})
	r.Programmed, r.Seconds = res.Programmed, res.PR.Seconds()
	return t.outcome(r, err)
}

// outcome tells what came of it and what the port holds now.
func (t *tool) outcome(r prReport, err error) error {
	outcome := "OK"
	if err != nil {
		outcome, r.Error = "FAILED", oneLine(err.Error())
	}
	t.say("Programming %s to port %s: %s\n", printable(r.File), printable(t.options.device), outcome)
	if fme, port, findErr := card.FindPort(t.root, r.Port); findErr == nil {
		after := holds(fme, port)
		r.After = &after
		t.say("After : %v\n", after)
	}
	return errors.Join(t.printPR(r), err)
}

// program runs Ensure with its progress shown. A signal or the time-out ends the wait for the port; a reconfiguration
// that has begun is waited for, since nothing can stop it and its outcome is what the caller wants to know.
func (t *tool) program(ctx context.Context, p *region.Programmer, req region.Request) (region.Result, error) {
	progress := t.newProgress(req.Port)
	defer progress.stop()
	p.Progress = progress.phase
	e := t.ensurer(p)
	defer e.Wait()

	waiting, giveUp := context.WithCancelCause(context.WithoutCancel(ctx))
	defer giveUp(nil)
	defer context.AfterFunc(ctx, func() {
		if progress.programming() {
			progress.say("the kernel cannot be stopped now, it is waited for; a second signal ends this tool")
			return
		}
		giveUp(context.Cause(ctx))
	})()
	if t.options.timeout > 0 {
		defer time.AfterFunc(t.options.timeout, func() {
			if !progress.programming() {
				giveUp(fmt.Errorf("gave up after %v", t.options.timeout))
			}
		}).Stop()
	}
	return e.Ensure(waiting, req)
}

// say prints a line of the text form. That it cannot stops nothing, and is told in the end.
func (t *tool) say(format string, args ...any) {
	if t.options.json() || t.options.quiet {
		return
	}
	if _, err := fmt.Fprintf(t.stdout, format, args...); err != nil && t.unsaid == nil {
		t.unsaid = err
	}
}

// printPR prints the JSON form; the text form was printed as it went.
func (t *tool) printPR(r prReport) error {
	if !t.options.json() {
		return t.unsaid
	}
	return t.printJSON(r)
}
