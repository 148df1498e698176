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
	"strings"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/internal/buildinfo"
	"github.com/inlay-project/inlay/internal/hookfile"
)

const name = hookfile.Name

const usage = `inlay-hook readies FPGA regions before a container starts. A container runtime calls it.

  inlay-hook [flags]                the stand-alone hook: OCI state on standard input; pairs the container's
                                    environment, allocation record and devices, and programs what is needed
  inlay-hook gate [--earlier DEVICE]
                                    OCI state on standard input; passes only a container that inlay-nri adjusted;
                                    with --earlier none: the CDI devices of an earlier FPGA plugin call it so
  inlay-hook program --mode M --pair PORT@PCI=INTERFACE/FUNCTION [flags]
                                    what inlay-nri adds to a container: programs the port, or finds it loaded
  inlay-hook install-host [--bin-dir DIR]
                                    for inlay-nri: puts this program into the host's hook folder as
                                    inlay-hook-<version>-<digest>, and lets the link inlay-hook lead there
                                    (inlay-deviceplugin uninstall-host takes all of it away)
  inlay-hook install   --hooks-dir DIR --bin-dir DIR [flags]
                                    for runtimes without NRI: copies the program, then writes the hooks.d JSON, which
                                    calls it with the flags given here
  inlay-hook uninstall --hooks-dir DIR --bin-dir DIR
                                    takes both away in the reverse order
  inlay-hook version

Flags (each has an environment twin, --host-root is INLAY_HOST_ROOT; the flag beats it):
  --host-root DIR       where the host's /sys, /dev, /srv and /run are (/)
  --bin-dir DIR         of install-host: the hook folder (<host-root>/opt/inlay/bin)
  --run-dir DIR         locks and load records (<host-root>/run/inlay)
  --bitstreams DIR      bitstream store (<host-root>/srv/intel.com/fpga)
  --max-bitstream N     bytes that a payload may have (536870912)
  --timeout D           how long to wait for a busy port and its programming (58s)
  --mode M              of program: af, region or regiondevel (region)
  --pair PAIR           of program: a port and what it is to hold; once a port
  --for TEXT            of program: namespace/pod/container, for the journal
`

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, oneLine(name+": "+err.Error()))
		os.Exit(1)
	}
}

// errHelp is what a command returns that was asked for its usage.
var errHelp = errors.New("help")

func run(args []string, stdin io.Reader, stdout io.Writer) (err error) {
	defer func() { err = caught(recover(), err) }()
	// No signal is caught: a runtime that gives up kills, and a process killed at any point leaves nothing that the next
	// one cannot see (package region). A reconfiguration that has begun is finished by the kernel.
	ctx := context.Background()
	command := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	if command == "" && len(args) == 1 && strings.TrimLeft(args[0], "-") == "version" {
		command = "version"
	}
	if f, ok := stdin.(*os.File); ok && (command == "" || command == "gate") && isTerminal(f) {
		command = "help" // a person; it would wait for a state that never comes
	}
	switch command {
	case "":
		err = standalone(ctx, stdin, args)
	case "gate":
		err = gate(stdin, args)
	case "program":
		err = program(ctx, args)
	case "install", "uninstall":
		err = install(command, args)
	case "install-host":
		err = installHost(ctx, stdout, args)
	case "version":
		_, err = fmt.Fprintln(stdout, name, buildinfo.Get().Version)
	case "help":
		err = errHelp
	default:
		return fmt.Errorf("%.40q is not a command; see inlay-hook help", command)
	}
	if errors.Is(err, errHelp) {
		_, err = fmt.Fprint(stdout, usage)
	}
	return err
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// caught makes an error of a panic: a runtime shows one line to the pod's owner, a stack trace would bury it.
func caught(bug any, err error) error {
	if bug != nil {
		return fmt.Errorf("internal error: %v", bug)
	}
	return err
}
