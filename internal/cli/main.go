package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/inlay-project/inlay/internal/buildinfo"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is a mistake in how the program was called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// UsageError marks an error as a mistake in how the program was called: exit code 2 and a pointer to --help.
func UsageError(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Main runs a command with the process's arguments, environment and signals, and gives the exit code. settings may
// be nil for a program without the daemons' flags. The command must not set PersistentPreRunE, its sub-commands neither.
func Main(cmd *cobra.Command, settings Settings) int {
	signals := []os.Signal{syscall.SIGTERM, syscall.SIGINT}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	defer stop()
	// After the first signal the default action is back: a second one ends a shutdown that hangs.
	defer context.AfterFunc(ctx, stop)()
	return run(ctx, cmd, settings, os.Args[1:], os.LookupEnv, os.Stderr)
}

func run(ctx context.Context, cmd *cobra.Command, settings Settings, args []string, env lookup, stderr io.Writer) int {
	if settings != nil {
		defer settings.close()
	}
	prepare(cmd, settings, env)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	if err == nil || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return exitOK // asked to stop and stopped
	}
	fmt.Fprintf(stderr, "%s: %s\n", cmd.Name(), OneLine(err))
	var usage usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(stderr, "%s --help shows the flags\n", cmd.Name())
		return exitUsage
	}
	return exitFailed
}

// prepare sets what is the same for all commands.
func prepare(cmd *cobra.Command, settings Settings, env lookup) {
	cmd.SilenceErrors = true // Main prints them, in one line
	cmd.SilenceUsage = true
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.Version = buildinfo.Get().String()
	cmd.Flags().Bool("version", false, "print the version and exit")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	cmd.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		if err := applyEnv(c.Flags(), env); err != nil {
			return err
		}
		if settings == nil {
			return nil
		}
		return settings.resolve(c.Flags())
	}
	for _, c := range append(cmd.Commands(), cmd) {
		for _, fs := range []*pflag.FlagSet{c.Flags(), c.PersistentFlags()} {
			describeEnv(fs)
		}
		args := c.Args
		if args == nil {
			args = noArgs
		}
		c.Args = func(cmd *cobra.Command, words []string) error {
			err := args(cmd, words)
			if usage := (usageError{}); err == nil || errors.As(err, &usage) {
				return err
			}
			return UsageError("%s: %w", cmd.CommandPath(), err)
		}
	}
}

// noArgs refuses words that are neither a flag nor a sub-command.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return UsageError("%s: unknown command or argument %q", cmd.CommandPath(), args[0])
}

// OneLine is an error's text without line breaks: a last line is read by people and by runtimes that keep one line.
func OneLine(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, "; ")
}
