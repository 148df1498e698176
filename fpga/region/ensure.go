package region

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/bitstream"
	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// Programmer makes the ports of one host hold functions. Its fields are not changed after the first call; it is safe
// for concurrent use.
type Programmer struct {
	Root         *hostfs.Root
	RunDir       string // path as this process sees it: locks and load records
	Store        string // host path of the bitstream store
	MaxBitstream int64  // bytes; 0 means the default of the bitstream package
	// Progress, if set, is told what Ensure waits for or does now; it must return at once.
	Progress func(Request, Phase)

	jobs sync.WaitGroup
}

// Phase is a step of Ensure that may take time.
type Phase string

const (
	WaitingForLock Phase = "waiting for the FME"
	WaitingForPort Phase = "waiting for the port"
	Verifying      Phase = "verifying the bitstream"
	Reconfiguring  Phase = "programming"
)

// Request is a port and what it is to hold.
type Request struct {
	Port      string // name: "dfl-port.0"
	FME       string // PCI address that the port's FME must have; "" = any
	Interface fpga.InterfaceID
	Function  fpga.FunctionID
	File      string // bitstream outside the store, a path as this process sees it; "" = from the store
	Force     bool   // program even if the port holds the function, and whatever its id reads as
}

// Result is what Ensure did.
type Result struct {
	Programmed bool          // false: the port held the function already
	AFU        fpga.AFUID    // what the port reads back as
	Waited     time.Duration // for the FME and the port
	PR         time.Duration // the ioctl alone
}

// Wait returns when no reconfiguration runs any more that Ensure began and its caller no longer waited for.
func (p *Programmer) Wait() { p.jobs.Wait() }

// Ensure returns nil when the port holds the function: read back, recorded, with nobody else on it. If ctx ends before
// the reconfiguration begins, nothing was changed; if it ends later, the kernel and a goroutine finish the job (see
// Wait) and the error says so. Errors name the port and the function.
func (p *Programmer) Ensure(ctx context.Context, req Request) (Result, error) {
	var res Result
	err := p.ensure(ctx, req, &res)
	if err != nil {
		return res, fmt.Errorf("port %s: function %s: %w", req.Port, req.Function, err)
	}
	return res, nil
}

func (p *Programmer) ensure(ctx context.Context, req Request, res *Result) error {
	fme, port, err := p.find(req)
	if err != nil {
		return err
	}
	boot, err := BootID(p.Root)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.RunDir, 0o700); err != nil {
		return fmt.Errorf("run folder: %w", err)
	}
	started := time.Now()
	held, err := p.hold(ctx, req, fme, port)
	res.Waited = time.Since(started)
	if err != nil {
		return err
	}
	if res.Waited > stale {
		if err := p.same(req, fme, port); err != nil {
			held.release()
			return err
		}
	}
	job := &job{p: p, req: req, fme: fme, port: port, boot: boot, held: held}
	done, err := job.look(ctx)
	if done || err != nil {
		held.release()
		res.AFU = job.afu
		return err
	}
	if err := job.verify(); err != nil {
		job.close()
		return err
	}
	if err := ctx.Err(); err != nil {
		job.close()
		return fmt.Errorf("not begun: %w", waitError{context.Cause(ctx)})
	}
	return p.run(ctx, job, res)
}

// run does the part that cannot be given up once begun in a goroutine of its own, and waits for it as long as ctx
// allows.
func (p *Programmer) run(ctx context.Context, job *job, res *Result) error {
	finished := make(chan error, 1)
	p.tell(job.req, Reconfiguring)
	p.jobs.Go(func() {
		err := job.guarded()
		job.close() // first: whoever gets nil from Ensure may open the port at once
		finished <- err
	})
	select {
	case err := <-finished:
		return job.result(res, err)
	case <-ctx.Done():
	}
	select {
	case err := <-finished: // both at once: what is done is done
		return job.result(res, err)
	default:
		return fmt.Errorf("the kernel is still programming it: %w", waitError{context.Cause(ctx)})
	}
}

func (p *Programmer) tell(req Request, phase Phase) {
	if p.Progress != nil {
		p.Progress(req, phase)
	}
}

// find looks the port up and checks that it is the one that was meant when it was granted.
func (p *Programmer) find(req Request) (*fpga.FME, *fpga.Port, error) {
	fme, port, err := card.FindPort(p.Root, req.Port)
	if err != nil {
		return nil, nil, err
	}
	if err := CheckIdentity(fme, req.FME, req.Interface); err != nil {
		return nil, nil, err
	}
	return fme, port, nil
}

// stale is how long what was read of a card may be acted on. A card that was taken out meanwhile, or given other
// numbers, must not be programmed for what it was.
const stale = 100 * time.Millisecond

// same looks a port up again and checks that it still is what was found before.
func (p *Programmer) same(req Request, fme *fpga.FME, port *fpga.Port) error {
	fmeNow, portNow, err := p.find(req)
	if err != nil {
		return err
	}
	if fmeNow.PCI.Address != fme.PCI.Address || fmeNow.Dev != fme.Dev || portNow.SysPath != port.SysPath ||
		portNow.Dev != port.Dev || portNow.ID != port.ID {
		return errors.New("the card changed while it was waited for; try again")
	}
	return nil
}

// CheckIdentity tells whether an FME is the one that was meant: at this PCI address ("" = any), with this interface.
func CheckIdentity(fme *fpga.FME, address string, iface fpga.InterfaceID) error {
	if address != "" && fme.PCI.Address != address {
		return fmt.Errorf("%s is at %s now, it was allocated at %s", fme.Name, fme.PCI.Address, address)
	}
	if fme.InterfaceErr != nil {
		return fmt.Errorf("interface id of %s: %w", fme.Name, fme.InterfaceErr)
	}
	if fme.Interface.AllOnes() {
		return fmt.Errorf("%s reads as all ones: the card does not answer", fme.Name)
	}
	if fme.Interface != iface {
		return fmt.Errorf("%s has interface %s, not %s", fme.Name, fme.Interface, iface)
	}
	return nil
}

// held is an FME and a port that nobody else can touch.
type held struct{ lock, port *os.File }

func (h held) release() {
	h.port.Close()
	h.lock.Close()
}

// hold takes the FME's lock and opens the port alone. While somebody has the port open the lock is given back, so that
// the other ports of the FME can be programmed meanwhile.
func (p *Programmer) hold(ctx context.Context, req Request, fme *fpga.FME, port *fpga.Port) (held, error) {
	var h held
	p.tell(req, WaitingForLock)
	told := false
	err := poll(ctx, func() (bool, error) {
		l, err := lock(ctx, p.RunDir, fme)
		if err != nil {
			return false, err
		}
		f, err := card.OpenNode(p.Root, port.Node, port.Dev, os.O_EXCL)
		if err == nil {
			h = held{lock: l, port: f}
			return true, nil
		}
		l.Close()
		if !errors.Is(err, unix.EBUSY) {
			return false, err
		}
		if !told {
			told = true
			p.tell(req, WaitingForPort)
		}
		return false, nil
	})
	if err != nil && told && ctx.Err() != nil {
		return h, fmt.Errorf("in use by %s: %w", Holder(port.Node, port.Dev), err)
	}
	return h, err
}

// touch tells the device plugin to look again: sysfs gives no event for a new afu_id.
func touch(runDir string) {
	name := filepath.Join(runDir, "touched")
	if f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600); err == nil {
		f.Close() // a courtesy: the plugin's own look every 5 s finds it too
	}
}

// job is one programming, from the look at the port to the record.
type job struct {
	p    *Programmer
	req  Request
	fme  *fpga.FME
	port *fpga.Port
	boot string
	held held
	file *bitstream.Bitstream

	afu  fpga.AFUID
	took time.Duration
}

func (j *job) close() {
	if j.file != nil {
		j.file.Close()
	}
	j.held.release()
}
