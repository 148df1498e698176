package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/fpga/region"
)

func main() {
	t := tool{
		stdout:   os.Stdout,
		stderr:   os.Stderr,
		env:      os.LookupEnv,
		terminal: isTerminal(os.Stderr),
		driverOf: card.DriverOf,
		ensurer:  func(p *region.Programmer) ensurer { return p },
		signals:  untilSignal,
	}
	os.Exit(t.main(context.Background(), os.Args[1:]))
}

// untilSignal gives a context that ends with the first signal. Then the default action is back: a second one ends the
// tool while the kernel still programs.
func untilSignal(ctx context.Context) (context.Context, func()) {
	ctx, end := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM)
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			end(fmt.Errorf("ended by %s", unix.SignalName(s.(syscall.Signal))))
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		end(nil)
	}
}

// main runs one command and gives the exit code; an error is one line on stderr.
func (t *tool) main(ctx context.Context, args []string) int {
	command, err := t.run(ctx, args)
	if err == nil {
		return 0
	}
	name := "fpga_tool"
	if command != "" {
		name += ": " + command
	}
	fmt.Fprintf(t.stderr, "%s: %s\n", name, oneLine(err.Error()))
	return 1
}

// run gives the command word as well, as far as it came to one.
func (t *tool) run(ctx context.Context, args []string) (string, error) {
	opts, word, err := parse(args, t.env)
	switch {
	case errors.Is(err, errHelp):
		_, err = fmt.Fprint(t.stdout, usage())
		return "", err
	case errors.Is(err, errVersion):
		_, err = fmt.Fprintln(t.stdout, "fpga_tool", version())
		return "", err
	case err != nil:
		return "", err
	}
	for _, c := range commands() {
		if c.name != word {
			continue
		}
		t.options = opts
		if t.root, err = t.options.openRoot(); err != nil {
			return word, err
		}
		defer t.root.Close()
		if !c.ends || t.signals == nil {
			return word, c.run(t, ctx)
		}
		signalled, stop := t.signals(ctx)
		defer stop()
		return word, c.run(t, signalled)
	}
	return "", fmt.Errorf("unknown command %.80q; fpga_tool -h lists them", word)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "" && os.Getenv("TERM") != "dumb"
}
