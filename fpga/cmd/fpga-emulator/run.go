package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/internal/buildinfo"
)

const runHelp = `Run COMMAND, and everything that it starts, on the emulated FPGA cards of the host tree DIR.

Their open and ioctl calls on FPGA nodes are answered as the DFL or OPAE kernel driver would; all other calls go to the
kernel. No root, driver or hardware is needed; the kernel must have seccomp user notification (Linux 5.19 or later).
The emulator ends with COMMAND's exit code. Processes that COMMAND leaves behind can then open nothing for reading and
writing any more; with --linger the emulator stays until the last of them is gone.

A PR loads the function of the bitstream in --bitstreams that has its payload. A payload that none has, or that is for
another interface id, fails as an incompatible bitstream (EIO). The port's afu_id in the tree follows; while the PR
runs it cannot be read (EBUSY for openat2 under the emulator, EISDIR for everybody else).

Faults can also be set and lifted while COMMAND runs, in the file of --faults, which need not be there yet (no file = no
faults): JSON, by device name or "*". open_errno concerns the very device; dead and removed of an FME its ports too:
  {"dfl-fme.0": {"pr_errno": "EIO", "pr_status": ["crc"], "pr_delay": "400ms"},
   "dfl-port.1": {"pr_hang": true, "pr_loads": "none", "pr_leaves_reset": true},
   "*": {"open_errno": "EBUSY", "dead": true, "removed": true}}`

const runExample = `  fpga-emulator tree --card dfl:ports=2 /tmp/node
  mkdir -p /tmp/node/srv/intel.com/fpga/` + emulator.DefaultInterface + `
  fpga-emulator gbs --afu f7df405cbd7acf7222f144b0b93acd18 /tmp/node/srv/intel.com/fpga/` + emulator.DefaultInterface + `/f7df405cbd7acf7222f144b0b93acd18.gbs
  fpga-emulator --host-root /tmp/node --bitstreams /tmp/node/srv/intel.com/fpga --record /tmp/calls -- sh`

func rootCommand(code *int) *cobra.Command {
	var cfg emulator.Config
	var errno string
	cmd := &cobra.Command{
		Use:           "fpga-emulator --host-root DIR [flags] -- COMMAND [ARG …]",
		Short:         "Run a command on emulated FPGA cards",
		Long:          runHelp,
		Example:       runExample,
		Version:       buildinfo.Get().String(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if c.ArgsLenAtDash() != 0 || len(args) == 0 {
				return errors.New(`want "-- COMMAND" after the flags; see --help`)
			}
			if errno != "" {
				var err error
				if cfg.PRErrno, err = emulator.ParseErrno(errno); err != nil {
					return fmt.Errorf("--pr-errno: %w", err)
				}
			}
			if cfg.PRDelay < 0 {
				return fmt.Errorf("--pr-delay %v is negative", cfg.PRDelay)
			}
			if cfg.Bitstreams != "" {
				if st, err := os.Stat(cfg.Bitstreams); err != nil {
					return fmt.Errorf("--bitstreams: %w", err)
				} else if !st.IsDir() {
					return fmt.Errorf("--bitstreams: %s is not a folder", cfg.Bitstreams)
				}
			}
			cfg.Command = args
			cfg.Stdin, cfg.Stdout, cfg.Stderr = os.Stdin, os.Stdout, os.Stderr
			cfg.Signals = forwardedSignals()
			cfg.Log = func(format string, a ...any) { fmt.Fprintf(os.Stderr, "fpga-emulator: "+format+"\n", a...) }
			var err error
			*code, err = emulator.Run(c.Context(), cfg)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.HostRoot, "host-root", "", "host tree with the cards (see fpga-emulator tree)")
	f.StringVar(&cfg.Bitstreams, "bitstreams", "", "bitstreams that can be loaded; default: srv/intel.com/fpga of the host tree")
	f.StringVar(&cfg.RecordFile, "record", "", "append one JSON line per ioctl call on an FPGA node to this file")
	f.StringVar(&cfg.FaultsFile, "faults", "", "JSON file of faults, followed while COMMAND runs; it may come later")
	f.DurationVar(&cfg.PRDelay, "pr-delay", 0, "how long a PR takes")
	f.StringVar(&errno, "pr-errno", "", "make every PR fail with this errno, by name or number")
	f.StringVar(&cfg.PRLoads, "pr-loads", "", `AFU id that every PR loads whatever it was given, or "none": it succeeds and changes nothing`)
	f.BoolVar(&cfg.Linger, "linger", false, "stay for the processes that COMMAND leaves behind")
	if err := cmd.MarkFlagRequired("host-root"); err != nil {
		panic(err) // the flag is defined above
	}
	cmd.AddCommand(treeCommand(), gbsCommand(), aocxCommand())
	cmd.CompletionOptions.DisableDefaultCmd = true
	return cmd
}

// forwardedSignals are those which somebody may send to us and mean COMMAND. At a terminal the keyboard's signals reach
// COMMAND anyway, so they are only kept from ending us before it.
func forwardedSignals() []os.Signal {
	signals := []os.Signal{unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2}
	keyboard := []os.Signal{syscall.SIGINT, syscall.SIGQUIT}
	if _, err := unix.IoctlGetTermios(int(os.Stdin.Fd()), unix.TCGETS); err == nil {
		signal.Notify(make(chan os.Signal, 1), keyboard...)
		return signals
	}
	return append(signals, keyboard...)
}
