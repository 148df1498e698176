package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/internal/atomicfile"
)

// A container without allocation record chooses its ports itself, and opens them only when its program runs. Until then
// they look free to the next one. So it leaves a claim in the run folder: the process that becomes the container. A
// claim is good as long as that process lives; there is nothing to clean up.

// claimant is a container's first process; Start tells it from another that got its number later.
type claimant struct {
	PID   int    `json:"pid"`
	Start string `json:"start"` // clock ticks since boot, field 22 of /proc/PID/stat
}

// claimantOf looks a process up; false if there is none of that number.
func claimantOf(pid int) (claimant, bool) {
	if pid <= 0 {
		return claimant{}, false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return claimant{}, false
	}
	// The name, field 2, is in parentheses and may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const startTime = 22 - 3 // what follows the name begins with field 3
	if len(fields) <= startTime || fields[0] == "Z" || fields[0] == "X" {
		return claimant{}, false // a zombie has let go of everything, however long its parent does not look
	}
	return claimant{PID: pid, Start: fields[startTime]}, true
}

func (c claimant) alive() bool {
	now, ok := claimantOf(c.PID)
	return ok && now == c
}

func (g given) claimFile(fme *fpga.FME, port string) string {
	return filepath.Join(g.p.RunDir, "claim-"+fme.PCI.Address+"-"+port)
}

// claimed gives the other container that has chosen the port, if it still lives. A claim that cannot be read is none: the
// driver's own word on who has the port open remains.
func (g given) claimed(fme *fpga.FME, port string) (claimant, bool) {
	b, err := os.ReadFile(g.claimFile(fme, port))
	if err != nil {
		return claimant{}, false
	}
	var c claimant
	return c, json.Unmarshal(b, &c) == nil && c != g.self && c.alive()
}

// claim marks the ports of a container as chosen.
func (g given) claim(pairs []pair, cards map[string]*fpga.FME) error {
	if g.self == (claimant{}) {
		return nil // the runtime named no process
	}
	b, err := json.Marshal(g.self)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		if err := atomicfile.Write(g.claimFile(cards[p.port], p.port), b, 0o600); err != nil {
			return fmt.Errorf("port %s: claim: %w", p.port, err)
		}
	}
	return nil
}

// choosing runs a choice while no other hook chooses.
func (g given) choosing(ctx context.Context, choose func() error) error {
	if err := os.MkdirAll(g.p.RunDir, 0o700); err != nil {
		return fmt.Errorf("run folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(g.p.RunDir, "lock-choice"), os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	defer f.Close()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return choose()
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("another hook is choosing ports: %w", context.Cause(ctx))
		case <-time.After(lockPause):
		}
	}
}

// lockPause is the time between two tries to get the lock, which is held for a look at a few ports.
const lockPause = 5 * time.Millisecond
