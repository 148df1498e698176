package region

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/card"
)

// MarkForeign records that a container is about to get an FME itself: whatever its ports read back as later, they are
// programmed anew for the next one.
func (p *Programmer) MarkForeign(ctx context.Context, req Request) error {
	fme, _, err := p.find(req)
	if err != nil {
		return fmt.Errorf("port %s: %w", req.Port, err)
	}
	boot, err := BootID(p.Root)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.RunDir, 0o700); err != nil {
		return fmt.Errorf("run folder: %w", err)
	}
	l, err := lock(ctx, p.RunDir, fme)
	if err != nil {
		return fmt.Errorf("port %s: %w", req.Port, err)
	}
	defer l.Close()
	for _, id := range portNumbers(fme) {
		if err := writeRecord(p.RunDir, fme, id, Record{State: Foreign, Boot: boot, Time: time.Now()}); err != nil {
			return err
		}
	}
	return nil
}

// maxPorts bounds what an FME may claim in ports_num; real ones have up to four.
const maxPorts = 64

// portNumbers gives the ports that an FME has, visible now or not: who has the FME can program a port that was released
// and assign it afterwards.
func portNumbers(fme *fpga.FME) []uint32 {
	var ids []uint32
	if n, err := strconv.ParseUint(fme.PortsNum, 10, 32); err == nil {
		for id := range uint32(min(n, maxPorts)) {
			ids = append(ids, id)
		}
	}
	for _, port := range fme.Ports {
		if !slices.Contains(ids, port.ID) {
			ids = append(ids, port.ID)
		}
	}
	return ids
}

// CheckLoaded tells whether a port of an af resource still holds the function that the resource is named for; nothing
// is programmed. It waits out a reconfiguration as long as ctx allows.
func (p *Programmer) CheckLoaded(ctx context.Context, req Request) error {
	var busy error
	err := poll(ctx, func() (bool, error) {
		fme, port, err := p.find(req)
		busy = nil
		switch {
		case err != nil:
			return false, err
		case errors.Is(port.AFUErr, unix.EBUSY):
			busy = port.AFUErr
			return false, nil
		case port.AFUErr != nil:
			return false, port.AFUErr
		case fpga.FunctionID(port.AFU) != req.Function:
			return false, fmt.Errorf("it holds %s now", port.AFU)
		}
		err = p.Believable(fme, port)
		if errors.Is(err, errProgramming) {
			busy = err
			return false, nil
		}
		return err == nil, err
	})
	if err != nil && busy != nil {
		err = fmt.Errorf("%w: %w", busy, err)
	}
	if err != nil {
		return fmt.Errorf("port %s: function %s: %w", req.Port, req.Function, err)
	}
	return nil
}

var errProgramming = errors.New("it is being programmed")

// Believable tells whether a port's afu_id may be believed by those who do not program: nil unless the load record of
// this boot contradicts it. An id is easily forged by whoever had the FME itself.
func (p *Programmer) Believable(fme *fpga.FME, port *fpga.Port) error {
	boot, err := BootID(p.Root)
	if err != nil {
		return err
	}
	r, err := ReadRecord(p.RunDir, fme, port.ID)
	switch {
	case err != nil:
		return err
	case r == nil || r.Boot != boot || r.State == Loaded && r.AFU == port.AFU:
		return nil
	case r.State == Programming:
		return errProgramming
	case r.State == Loaded:
		return fmt.Errorf("it was programmed with %s and shows %s now: program it again (fpga_tool pr)", r.AFU, port.AFU)
	}
	return fmt.Errorf("what it holds was not verified (it is marked %s): program it again (fpga_tool pr)", r.State)
}

// Scrub clears what a container left in a port: it loads the request's function, or resets the port if there is none.
// The port must be free; ctx bounds the wait for that. Nothing calls it by default.
func (p *Programmer) Scrub(ctx context.Context, req Request) error {
	if req.Function != "" {
		_, err := p.Ensure(ctx, req)
		return err
	}
	if err := p.reset(ctx, req); err != nil {
		return fmt.Errorf("port %s: reset: %w", req.Port, err)
	}
	return nil
}

func (p *Programmer) reset(ctx context.Context, req Request) error {
	fme, port, err := p.find(req)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.RunDir, 0o700); err != nil {
		return fmt.Errorf("run folder: %w", err)
	}
	h, err := p.hold(ctx, req, fme, port)
	if err != nil {
		return err
	}
	defer h.release()
	driver, _ := card.DriverOf(port.Name)
	return driver.Reset(h.port)
}
