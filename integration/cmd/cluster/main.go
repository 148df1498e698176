// Command cluster leaves a one-node Kubernetes cluster with an emulated FPGA card and Inlay running, for people: `make
// cluster`.
//
//	go run ./integration/cmd/cluster start [-runtime crio] [-overlay af] [-card dfl:ports=2]
//	go run ./integration/cmd/cluster stop
//
// start returns when the cluster is ready, and says how to use it. A process in the background keeps it; stop ends it, and
// with it all that there was.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/inlay-project/inlay/integration"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// choice is what the command line chooses.
type choice struct {
	state   string
	usual   bool // state was not chosen
	runtime string
	overlay string
	images  string
	cards   []string
}

var errUsage = errors.New("usage: cluster start|stop|keep [flags]; -h lists them")

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	usual := filepath.Join(cache, "inlay", "cluster")
	var c choice
	f := flag.NewFlagSet("cluster "+args[0], flag.ContinueOnError)
	f.StringVar(&c.state, "state", usual, "folder for the kubeconfig, the log and what else people need")
	f.StringVar(&c.runtime, "runtime", string(integration.Containerd), "containerd, crio or crio-1.34")
	f.StringVar(&c.overlay, "overlay", "region", "folder of deploy/overlays to apply; none = Inlay is not installed, its images are there")
	f.StringVar(&c.images, "images", os.Getenv("INLAY_IMAGES"), "folder of images as make images writes it; empty = built from this tree")
	f.Func("card", "an emulated card, as fpga-emulator tree knows it; may be repeated (default dfl:ports=1, twice)", func(s string) error {
		c.cards = append(c.cards, s)
		return nil
	})
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	c.usual = c.state == usual
	if f.NArg() > 0 {
		return fmt.Errorf("argument %q: there are only flags", f.Arg(0))
	}
	if os.Geteuid() != 0 {
		return errors.New("a cluster of real components needs root, on Debian 12 or later")
	}
	if len(c.cards) == 0 {
		c.cards = []string{"dfl:ports=1", "dfl:ports=1"}
	}
	switch args[0] {
	case "start":
		return start(ctx, c, args[1:], out)
	case "stop":
		return end(ctx, c, out)
	case "keep": // what start starts
		return keep(ctx, c, out)
	}
	return errUsage
}

// in is a file of the state folder.
func (c choice) in(name string) string { return filepath.Join(c.state, name) }

// installs tells whether Inlay is to be installed.
func (c choice) installs() bool { return c.overlay != "none" }
