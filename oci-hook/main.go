// Command inlay-hook is the OCI hook that readies FPGA regions before a container starts.
//
// It uses the standard library and x/sys only: it runs as root on the host at every start of an FPGA container, and has
// to be there in milliseconds. It exits 0, or 1 with exactly one line on standard error that names the device, the
// function and the cause.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/internal/buildinfo"
)

const name = "inlay-hook"

const usage = `inlay-hook readies FPGA regions before a container starts. A container runtime calls it.

  inlay-hook [flags]                the stand-alone hook: OCI state on standard input; pairs the container's
                                    environment, allocation record and devices, and programs what is needed
  inlay-hook gate                   OCI state on standard input; passes only a container that inlay-nri adjusted
  inlay-hook program --mode M --pair PORT@PCI=INTERFACE/FUNCTION [flags]
                                    what inlay-nri adds to a container: programs the port, or finds it loaded
  inlay-hook install   --hooks-dir DIR --bin-dir DIR    for runtimes without NRI: program, then hooks.d JSON
  inlay-hook uninstall --hooks-dir DIR --bin-dir DIR    the reverse
  inlay-hook version

Flags (each has an environment twin, --host-root is INLAY_HOST_ROOT):
  --host-root DIR       where the host's /sys, /dev, /srv and /run are (/)
  --run-dir DIR         locks and load records (<host-root>/run/inlay)
  --bitstreams DIR      bitstream store (<host-root>/srv/intel.com/fpga)
  --max-bitstream N     bytes that a payload may have (536870912)
  --timeout D           how long to wait for a busy port and its programming (58s)
`

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, name+": "+flat(err.Error()))
		os.Exit(1)
	}
}

// flat makes one line of a message, whatever a file or a pod put into it.
func flat(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

func run(args []string, stdin io.Reader, stdout io.Writer) (err error) {
	defer func() {
		if bug := recover(); bug != nil {
			err = fmt.Errorf("internal error: %v", bug)
		}
	}()
	// A runtime that gives up ends the wait; a reconfiguration that has begun goes on in the kernel.
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	command := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	switch command {
	case "":
		if len(args) == 1 && (args[0] == "--version" || args[0] == "-version") {
			command = "version"
			break
		}
		err = standalone(ctx, stdin, args)
	case "gate":
		err = gate(stdin)
	case "program":
		err = program(ctx, args)
	case "install", "uninstall":
		err = install(command, args)
	case "version", "help":
	default:
		return fmt.Errorf("%.40q is not a command; see inlay-hook help", command)
	}
	if command == "version" {
		fmt.Fprintln(stdout, name, buildinfo.Get().Version)
	}
	if command == "help" || errors.Is(err, errHelp) {
		fmt.Fprint(stdout, usage)
		return nil
	}
	return err
}
