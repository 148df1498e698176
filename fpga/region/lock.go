package region

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga"
)

const (
	firstPoll = 2 * time.Millisecond
	lastPoll  = 100 * time.Millisecond
)

// poll calls try until it is done, fails, or the context ends, which gives the context's cause; the pauses grow. try is
// called at least once, whatever the context.
func poll(ctx context.Context, try func() (done bool, err error)) error {
	pause := firstPoll
	for {
		done, err := try()
		if done || err != nil {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return waitError{context.Cause(ctx)}
		case <-timer.C:
		}
		pause = min(pause*2, lastPoll)
	}
}

// waitError is the end of a caller's patience, whatever it was that ended it.
type waitError struct{ error }

func (e waitError) Unwrap() error { return e.error }

// lock takes an FME for this process. flock belongs to the open file: the kernel gives it back when the process is
// killed, and a thread of the same process has to wait for another's like anybody else.
func lock(ctx context.Context, runDir string, fme *fpga.FME) (*os.File, error) {
	name := filepath.Join(runDir, "lock-"+fme.PCI.Address)
	f, err := os.OpenFile(name, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock of %s: %w", fme.Name, err)
	}
	err = poll(ctx, func() (bool, error) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s is being programmed for somebody else (lock %s): %w", fme.Name, name, err)
	}
	return f, nil
}
