package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/region"
	"github.com/inlay-project/inlay/internal/journal"
)

// pair is a port and what it is to hold, as inlay-nri decided: <port>@<PCI address>=<interface>/<function>.
type pair struct {
	port, address string
	iface         fpga.InterfaceID
	function      fpga.FunctionID // "" in regiondevel mode
}

func parsePair(s string) (pair, error) {
	device, ids, ok := strings.Cut(s, "=")
	iface, function, hasFunction := strings.Cut(ids, "/")
	port, address, hasAddress := strings.Cut(device, "@")
	if !ok || !hasFunction || !hasAddress {
		return pair{}, fmt.Errorf("pair %.160q is not <port>@<PCI address>=<interface>/<function>", s)
	}
	p := pair{port: port, address: address}
	var err error
	if p.iface, err = fpga.ParseInterfaceID(iface); err != nil {
		return pair{}, err
	}
	if function != "" {
		p.function, err = fpga.ParseFunctionID(function)
	}
	return p, err
}

func (p pair) request() region.Request {
	return region.Request{Port: p.port, FME: p.address, Interface: p.iface, Function: p.function}
}

// program makes the ports of one container ready: what inlay-nri granted stands in the arguments, not in anything that
// a pod can write.
func program(ctx context.Context, args []string) error {
	o := options{}
	flags := o.flags("program")
	mode := flags.String("mode", "region", "af, region or regiondevel")
	container := flags.String("for", "", "namespace/pod/container, for the journal")
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
	do, err := o.job(*mode)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("%s are over", o.timeout))
	defer cancel()
	return forAll(ctx, pairs, func(ctx context.Context, p pair) error {
		return o.journaled(*mode, *container, p, func() (region.Result, error) { return do(ctx, p) })
	})
}

// job gives what a mode wants done with each pair.
func (o *options) job(mode string) (func(context.Context, pair) (region.Result, error), error) {
	p, err := o.programmer()
	if err != nil {
		return nil, err
	}
	switch mode {
	case "region":
		return func(ctx context.Context, pr pair) (region.Result, error) { return p.Ensure(ctx, pr.request()) }, nil
	case "af":
		return func(ctx context.Context, pr pair) (region.Result, error) {
			return region.Result{}, p.CheckLoaded(ctx, pr.request())
		}, nil
	case "regiondevel":
		return func(ctx context.Context, pr pair) (region.Result, error) {
			return region.Result{}, p.MarkForeign(ctx, pr.request())
		}, nil
	}
	return nil, fmt.Errorf("--mode %q is not af, region or regiondevel", mode)
}

// forAll works on all pairs at once: those on one FME take turns at its lock. The first failure ends the others' waits;
// every failure is told.
func forAll(ctx context.Context, pairs []pair, do func(context.Context, pair) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errs := make([]error, len(pairs))
	var jobs sync.WaitGroup
	for i, p := range pairs {
		jobs.Go(func() {
			if errs[i] = do(ctx, p); errs[i] != nil {
				cancel(errAnother)
			}
		})
	}
	jobs.Wait()
	return oneLine(errs)
}

var errAnother = errors.New("another port of the container failed")

// oneLine joins errors to one line. Ports that gave up only because another failed are left out.
func oneLine(errs []error) error {
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

// journaled runs a job and notes what came of it. A journal that cannot be written stops nobody.
func (o *options) journaled(mode, container string, p pair, do func() (region.Result, error)) error {
	res, err := do()
	entry := journal.Entry{
		Time: time.Now(), Mode: mode, Container: container, Device: p.port, Function: string(p.function),
		Programmed: res.Programmed, Waited: res.Waited, PR: res.PR,
	}
	if err != nil {
		entry.Error, entry.Reason = err.Error(), region.Reason(err)
	}
	_ = journal.Append(o.runDir, entry)
	return err
}
