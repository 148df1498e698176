package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Launcher starts programs from a shell in an environment of its own.
type Launcher struct {
	mu      sync.Mutex
	shell   *exec.Cmd
	in      io.WriteCloser
	replies chan reply
	exited  chan struct{}
	log     string
	pids    string // names the PID namespace, if it is not ours
}

type reply struct {
	line string
	err  error
}

// LauncherOptions choose the environment.
type LauncherOptions struct {
	// Prefix is put before the shell's command line, e.g. fpga-emulator … --.
	Prefix []string
	// PrivateMounts gives the shell a mount namespace whose mounts are shared inside
	// and unseen outside. Container runtimes need shared mounts; the host need not
	// have them. Root only.
	PrivateMounts bool
	// Binds are folders that are mounted over others, from and to, in the private
	// mount namespace. Both must exist.
	Binds [][2]string
	// PrivateNetwork gives the shell a network namespace of its own, in which even the
	// loopback interface is down. Root only.
	PrivateNetwork bool
	// PrivatePIDs gives the shell, but not the prefix, a PID namespace of its own with a
	// /proc that shows nobody else. What runs in it ends with the shell. Processes that
	// are started have their ids of the outside all the same. Needs PrivateMounts.
	PrivatePIDs bool
	// Setup are commands that the shell runs after the mounts. Each must succeed.
	Setup []string
	// Env is the environment of the prefix and the shell.
	Env []string
	// Log is the file for what the prefix and the shell print.
	Log string
}

const (
	// replyTimeout bounds the shell's answer, which takes a fork and nothing else.
	replyTimeout = 20 * time.Second
	// firstTimeout bounds the first one, which comes after the start of the prefix, the mounts and Setup.
	firstTimeout = 90 * time.Second
)

// NewLauncher starts the shell, and the prefix with it.
func NewLauncher(ctx context.Context, o LauncherOptions) (*Launcher, error) {
	log, err := openLog(Command{Name: "launcher", Log: o.Log})
	if err != nil {
		return nil, err
	}
	defer log.Close()
	args := slices.Clone(o.Prefix)
	if o.PrivatePIDs {
		// Its own mounts too: the prefix keeps the /proc in which it is.
		args = append(args, "unshare", "--pid", "--mount", "--fork", "--kill-child", "--")
	}
	args = append(args, "/bin/sh", "-s")
	shell := exec.Command(args[0], args[1:]...)
	shell.Env, shell.Stderr = nonNil(o.Env), log
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if o.PrivateMounts {
		shell.SysProcAttr.Unshareflags |= syscall.CLONE_NEWNS
	}
	if o.PrivateNetwork {
		shell.SysProcAttr.Unshareflags |= syscall.CLONE_NEWNET
	}
	in, err := shell.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("launcher: %w", err)
	}
	out, err := shell.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("launcher: %w", err)
	}
	if err := shell.Start(); err != nil {
		return nil, fmt.Errorf("launcher: %w", err)
	}
	l := &Launcher{shell: shell, in: in, replies: make(chan reply, 1), exited: make(chan struct{}), log: o.Log}
	go l.read(out)
	line, err := l.ask(ctx, o.setup()+"echo ready || echo failed", firstTimeout)
	if err == nil && line != "ready" {
		err = fmt.Errorf("the shell answered %q", line)
	}
	if err != nil {
		tail, _ := os.ReadFile(o.Log)
		return nil, errors.Join(fmt.Errorf("launcher: %s: %w\n%s", strings.Join(args, " "), err, tail), l.Close(ctx))
	}
	if o.PrivatePIDs {
		if l.pids, err = l.ask(ctx, "readlink /proc/self/ns/pid", replyTimeout); err != nil {
			return nil, errors.Join(fmt.Errorf("launcher: %w", err), l.Close(ctx))
		}
	}
	return l, nil
}

// setup is the shell's part of the environment: commands that must succeed.
func (o LauncherOptions) setup() string {
	s := ""
	if o.PrivateMounts {
		s += "mount --make-rshared / && "
		if o.PrivatePIDs {
			s += "mount -t proc proc /proc && "
		}
		for _, b := range o.Binds {
			s += fmt.Sprintf("mount --bind %s %s && ", quote(b[0]), quote(b[1]))
		}
	}
	for _, c := range o.Setup {
		s += c + " && "
	}
	return s
}

// Pid is the process id of the prefix, or of the shell if there is none.
func (l *Launcher) Pid() int { return l.shell.Process.Pid }

// LogFile is where the prefix's own output goes.
func (l *Launcher) LogFile() string { return l.log }

// Start runs the command in the launcher's environment.
func (l *Launcher) Start(ctx context.Context, c Command) (*Process, error) {
	words := []string{"env", "-i"}
	for _, w := range append(append(append([]string{}, c.Env...), c.Path), c.Args...) {
		words = append(words, quote(w))
	}
	// The background list is one simple command, so $! is the program's own id: the
	// shell's child execs env, which execs the program. cd keeps a mount that is to
	// be taken down from being somebody's working folder.
	line := fmt.Sprintf("cd %s\n%s </dev/null >>%s 2>&1 & echo $!", quote(filepath.Dir(c.Log)), strings.Join(words, " "), quote(c.Log))
	answer, err := l.ask(ctx, line, replyTimeout)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	pid, err := strconv.Atoi(answer)
	if err != nil {
		return nil, fmt.Errorf("start %s: the shell answered %q", c.Name, answer)
	}
	if l.pids != "" {
		var alive bool
		if pid, alive, err = outerPid(l.pids, pid); err != nil {
			return nil, fmt.Errorf("start %s: %w", c.Name, err)
		}
		if !alive {
			return ended(c.Name, c.Log), nil
		}
	}
	return adopt(c.Name, c.Log, pid)
}

// outerPid is our id of the process that has that one in another PID namespace, as long as
// it has not ended. A process that ended may still be listed, but no longer tells its ids.
func outerPid(namespace string, inner int) (pid int, alive bool, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/ns/pid")
	if err != nil {
		return 0, false, err
	}
	for _, f := range files {
		if link, err := os.Readlink(f); err != nil || link != namespace {
			continue
		}
		dir := filepath.Dir(filepath.Dir(f))
		status, err := os.ReadFile(filepath.Join(dir, "status"))
		if err != nil {
			continue // ended
		}
		for line := range strings.Lines(string(status)) {
			ids, found := strings.CutPrefix(line, "NSpid:")
			if fields := strings.Fields(ids); found && len(fields) > 0 && fields[len(fields)-1] == strconv.Itoa(inner) {
				pid, err := strconv.Atoi(filepath.Base(dir))
				return pid, true, err
			}
		}
	}
	return 0, false, nil
}

// Close ends the shell and with it the prefix. Programs that were started through the
// launcher should have ended before.
func (l *Launcher) Close(ctx context.Context) error {
	_ = l.in.Close()
	select {
	case <-l.exited:
		return nil
	case <-time.After(3 * time.Second):
	case <-ctx.Done():
	}
	_ = syscall.Kill(-l.shell.Process.Pid, syscall.SIGKILL)
	<-l.exited
	return nil
}

// ask sends one command line and returns the one line that it prints.
func (l *Launcher) ask(ctx context.Context, line string, limit time.Duration) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := io.WriteString(l.in, line+"\n"); err != nil {
		return "", err
	}
	select {
	case r := <-l.replies:
		return r.line, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	case <-time.After(limit):
		return "", fmt.Errorf("no answer from the shell within %v", limit)
	}
}

// read forwards the shell's answers until it ends, then collects it.
func (l *Launcher) read(out io.Reader) {
	defer close(l.exited)
	s := bufio.NewScanner(out)
	for s.Scan() {
		l.replies <- reply{line: s.Text()}
	}
	select {
	case l.replies <- reply{err: errors.New("the shell has ended")}:
	default: // nobody asks
	}
	_ = l.shell.Wait()
}

// quote makes one shell word of any text.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
