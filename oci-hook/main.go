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
	"slices"
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
  inlay-hook install-host [--bin-dir DIR] [--sweep]
                                    for inlay-nri: puts this program into the host's hook folder as
                                    inlay-hook-<version>-<digest>, and lets the link inlay-hook lead there;
                                    --sweep, without inlay-nri: of older versions the last one alone stays
                                    (inlay-deviceplugin uninstall-host takes all of it away)
  inlay-hook install   --hooks-dir DIR --bin-dir DIR [flags]
                                    for runtimes without NRI: copies the program, then writes the hooks.d JSON, which
                                    calls it with the flags given here
  inlay-hook uninstall --hooks-dir DIR --bin-dir DIR
                                    takes both away in the reverse order
  inlay-hook version                (or --version)

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
	end := ender{stderr: os.Stderr, exit: os.Exit}
	if err := run(end.onSignal(context.Background()), os.Args[1:], os.Stdin, os.Stdout); err != nil {
		end.fail(err)
	}
}

// What a command returns that was asked for its usage or its version.
var (
	errHelp    = errors.New("help")
	errVersion = errors.New("version")
)

func run(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) (err error) {
	defer func() { err = caught(recover(), err) }()
	command := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	wantsVersion := slices.ContainsFunc(args, func(arg string) bool { return arg == "-version" || arg == "--version" })
	if f, ok := stdin.(*os.File); ok && (command == "" || command == "gate") && !wantsVersion && isTerminal(f) {
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
		err = errVersion
	case "help":
		err = errHelp
	default:
		return fmt.Errorf("%.40q is not a command; see inlay-hook help", command)
	}
	switch {
	case errors.Is(err, errHelp):
		_, err = fmt.Fprint(stdout, usage)
	case errors.Is(err, errVersion):
		_, err = fmt.Fprintln(stdout, name, buildinfo.Get().Version)
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
