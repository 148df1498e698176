package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command says what to run. The environment is Env alone, so that a test does not
// depend on who runs it.
type Command struct {
	Name string // short name for messages and files, e.g. "containerd"
	Path string
	Args []string
	Env  []string
	Log  string // file that stdout and stderr are appended to
}

// Process is a running or ended program.
type Process struct {
	name string
	pid  int
	log  string
	done chan struct{}
}

// Start runs the command as a child of this process.
func Start(c Command) (*Process, error) {
	log, err := openLog(c)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = nonNil(c.Env), log, log
	// Its own process group: an interrupt at the terminal must reach the test first,
	// which then ends its programs in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	p := &Process{name: c.Name, pid: cmd.Process.Pid, log: c.Log, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		if err := cmd.Wait(); err != nil {
			appendLine(c.Log, fmt.Sprintf("[%s %d: %v]", c.Name, p.pid, err))
		}
	}()
	return p, nil
}

// adopt watches a process that is not our child. One that its starter has collected
// already counts as ended.
func adopt(name, log string, pid int) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return ended(name, log), nil
	}
	if err != nil {
		return nil, fmt.Errorf("watch %s (%d): %w", name, pid, err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	conn, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("watch %s (%d): %w", name, pid, err)
	}
	p := &Process{name: name, pid: pid, log: log, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		defer f.Close()
		// A pidfd turns readable when the process ends; a zombie counts as ended.
		_ = conn.Read(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n > 0 || (err != nil && !errors.Is(err, unix.EINTR))
		})
	}()
	return p, nil
}

// ended is a process that has ended before it could be watched.
func ended(name, log string) *Process {
	p := &Process{name: name, log: log, done: make(chan struct{})}
	close(p.done)
	return p
}

// Name is the short name that the process was started with.
func (p *Process) Name() string { return p.name }

// Pid is the process id in the host's PID namespace, or 0 if the process ended before it
// could be looked up.
func (p *Process) Pid() int { return p.pid }

// LogFile is where its output goes.
func (p *Process) LogFile() string { return p.log }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Alive says whether the process has not ended; a stopped one is alive.
func (p *Process) Alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends a signal; to a process that has ended it sends nothing.
func (p *Process) Signal(sig syscall.Signal) error {
	if !p.Alive() {
		return nil
	}
	if err := syscall.Kill(p.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("%s (%d): %v: %w", p.name, p.pid, sig, err)
	}
	return nil
}

// Stop freezes the process (SIGSTOP), Cont lets it go on.
func (p *Process) Stop() error { return p.Signal(syscall.SIGSTOP) }

// Cont lets a stopped process go on.
func (p *Process) Cont() error { return p.Signal(syscall.SIGCONT) }

// Kill ends the process without a chance to clean up and waits until it is gone.
func (p *Process) Kill(ctx context.Context) error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	return p.Wait(ctx)
}

// Terminate asks the process to end (SIGTERM) and kills it after the grace period.
// Exceeding the grace period is an error: our programs promise a clean shutdown.
func (p *Process) Terminate(ctx context.Context, grace time.Duration) error {
	// A stopped process does not see SIGTERM before it is continued.
	if err := errors.Join(p.Signal(syscall.SIGTERM), p.Cont()); err != nil {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if p.Wait(patience) == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("%s (%d): did not end within %v of SIGTERM", p.name, p.pid, grace), p.Kill(ctx))
}

// Wait returns when the process has ended.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the end of %s (%d): %w", p.name, p.pid, ctx.Err())
	}
}

// Output is everything that the process has printed so far.
func (p *Process) Output() string { return output(p.log) }

// Tail is the last n lines of Output.
func (p *Process) Tail(n int) string { return Tail(p.log, n) }

// Tail is the last n lines of a log, or why it cannot be read.
func Tail(log string, n int) string {
	lines := strings.Split(strings.TrimRight(output(log), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func output(log string) string {
	b, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// WaitForOutput returns when the process has printed text, or fails with its last
// lines if it ends first.
func (p *Process) WaitForOutput(ctx context.Context, text string) error {
	return Poll(ctx, func() error {
		if strings.Contains(p.Output(), text) {
			return nil
		}
		if !p.Alive() {
			return Permanent(fmt.Errorf("%s ended without printing %q:\n%s", p.name, text, p.Tail(20)))
		}
		return fmt.Errorf("%s has not printed %q:\n%s", p.name, text, p.Tail(20))
	})
}

func openLog(c Command) (*os.File, error) {
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: log: %w", c.Name, err)
	}
	return log, nil
}

func appendLine(path, line string) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return // the log's folder is gone already: nobody is left to read it
	}
	defer f.Close()
	fmt.Fprintln(f, line)
}

// nonNil keeps exec from taking this process's own environment.
func nonNil(env []string) []string {
	if env == nil {
		return []string{}
	}
	return env
}
