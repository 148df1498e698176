// Command demo shows Inlay's main job from end to end on an emulated node, and that it says no where it must.
//
// Everything is real but three parts: the cards (fpga-emulator answers for them, through real system calls), the
// kubelet (a scripted one that speaks the real protocols) and the container runtime (NRI's own adaptation library, plus
// the few lines here that run hooks as runc does). It needs no root, no hardware and no cluster. It ends with a timeline
// and exits 0 only if every step was as promised.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	bin := flag.String("bin", "bin", "folder of Inlay's programs")
	inside := flag.String("inside", "", "host tree; set by the demo itself, which runs again under the emulator")
	flag.Parse()
	logrus.SetOutput(io.Discard) // NRI's library tells its own story there
	var err error
	if *inside == "" {
		err = outside(ctx, *bin)
	} else {
		err = story(ctx, *bin, *inside)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// limit bounds the whole demo: nothing in it may hang for ever.
const limit = 2 * time.Minute

// prDelay is what the emulated cards take to be programmed: a real one takes 0.3 to 3 s.
const prDelay = 700 * time.Millisecond

// outside makes the host tree and runs the demo again under the emulator.
func outside(ctx context.Context, bin string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	// A short name: a unix socket's path has room for 107 bytes, and a resource's name alone takes 59.
	dir, err := os.MkdirTemp("/tmp", "inlay-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := furnish(ctx, bin, dir); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "fpga-emulator"),
		"--host-root", dir, "--record", filepath.Join(dir, "calls.jsonl"), "--pr-delay", prDelay.String(),
		"--", self, "-bin", bin, "-inside", dir)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err = cmd.Run()
	if failed := new(exec.ExitError); errors.As(err, &failed) && ctx.Err() == nil {
		return errors.New("not everything was as promised")
	}
	return err
}
