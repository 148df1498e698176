package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/card"
)

// changeReport is what release and assign did.
type changeReport struct {
	FME    string `json:"fme"`
	Port   uint32 `json:"port"`
	Action string `json:"action"` // "release" or "assign"
	DryRun bool   `json:"dryRun"`
	Done   bool   `json:"done"`
}

func (t *tool) release(context.Context) error {
	return t.change("release", "already released, or still open", fpga.Driver.Release)
}

func (t *tool) assign(context.Context) error {
	return t.change("assign", "not released", fpga.Driver.Assign)
}

// change asks an FME to give a port away or to take it back. busy is what EBUSY means there.
func (t *tool) change(action, busy string, call func(fpga.Driver, *os.File, uint32) error) error {
	name, err := t.deviceName()
	if err != nil {
		return err
	}
	if card.IsPort(name) {
		return fmt.Errorf("%s is a port; -d names the FME and -p the port's number", name)
	}
	if t.options.port > math.MaxUint32 {
		return fmt.Errorf("port number %d is too large", t.options.port)
	}
	fme, err := card.FindFME(t.root, name)
	if err != nil {
		return err
	}
	r := changeReport{FME: name, Port: uint32(t.options.port), Action: action, DryRun: t.options.dryRun}
	if !r.DryRun {
		if err := t.callFME(fme, func(d fpga.Driver, f *os.File) error { return call(d, f, r.Port) }); err != nil {
			switch {
			case errors.Is(err, unix.EBUSY):
				err = fmt.Errorf("%w (%s)", err, busy)
			case errors.Is(err, unix.ENODEV), errors.Is(err, unix.EINVAL):
				err = fmt.Errorf("%w (no such port)", err)
			}
			return fmt.Errorf("%s: port %d: %w", name, r.Port, err)
		}
		r.Done = true
	}
	return t.printChange(r)
}

func (t *tool) callFME(fme *fpga.FME, call func(fpga.Driver, *os.File) error) error {
	f, err := t.openNode(fme.Node, fme.Dev)
	if err != nil {
		return err
	}
	defer f.Close()
	driver, _ := t.driverOf(fme.Name)
	if err := checkAPI(driver, f); err != nil {
		return err
	}
	return call(driver, f)
}

func (t *tool) printChange(r changeReport) error {
	switch {
	case t.options.json():
		return t.printJSON(r)
	case t.options.quiet:
		return nil
	}
	outcome := "OK"
	if r.DryRun {
		outcome = "not done, dry run"
	}
	_, err := fmt.Fprintf(t.stdout, "%s: %s port %d: %s\n", r.FME, r.Action, r.Port, outcome)
	return err
}
