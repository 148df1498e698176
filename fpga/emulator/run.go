package emulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Config says what to run on which cards.
type Config struct {
	HostRoot   string // the tree with the cards
	Bitstreams string // the bitstreams that a PR can load; empty = srv/intel.com/fpga of the tree
	RecordFile string // empty = no record
	FaultsFile string // empty = no faults but those below
	PRDelay    time.Duration
	PRErrno    unix.Errno // 0 = PRs succeed
	PRLoads    string     // AFU id or "none"; empty = what the payload is
	Linger     bool       // go on for the processes that COMMAND left behind

	Command        []string
	Env            []string // nil = this process's
	Dir            string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Signals        []os.Signal                      // passed on to COMMAND
	Log            func(format string, args ...any) // nil = nothing is said
}

// Run runs COMMAND and everything that it starts on the emulated cards, and returns COMMAND's exit code (128 + number
// if a signal ended it). It serves until COMMAND has ended, or with Linger until no process is left under the filter; a
// PR that is then under way is finished, and what the faults took out of the tree is put back. Cancelling ctx kills COMMAND. The calling program must begin with Shim.
func Run(ctx context.Context, cfg Config) (exitCode int, err error) {
	s, err := cfg.supervisor()
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, s.board.settleAll(), s.recorder.close()) }()
	if len(cfg.Command) == 0 {
		return 1, errors.New("no command to run")
	}
	path, err := exec.LookPath(cfg.Command[0])
	if err != nil {
		return exitNotFound, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return exitNotFound, err
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return 1, err
	}
	defer ours.Close()
	// A thread that ends would take COMMAND along (Pdeathsig), so COMMAND's parent stays on this one.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := cfg.command(ctx, path, theirs)
	if err := cmd.Start(); err != nil {
		theirs.Close()
		return 1, err
	}
	theirs.Close()
	forwarded := forward(cmd.Process, cfg.Signals)
	defer forwarded()
	fd, startErr := handshake(ours)
	if startErr != nil {
		_ = cmd.Wait() // its exit code is in the state
		if code := cmd.ProcessState.ExitCode(); code > 0 {
			return code, startErr
		}
		return 1, startErr
	}
	s.listener = listener{fd}
	defer unix.Close(fd)
	return s.supervise(cmd, cfg.Linger)
}

func (cfg Config) supervisor() (*supervisor, error) {
	log := cfg.Log
	if log == nil {
		log = func(string, ...any) {}
	}
	root, err := filepath.EvalSymlinks(cfg.HostRoot)
	if err != nil {
		return nil, fmt.Errorf("host root: %w", err)
	}
	b, err := newBoard(root, log)
	if err != nil {
		return nil, err
	}
	bitstreams := cfg.Bitstreams
	if bitstreams == "" {
		bitstreams = filepath.Join(b.root, "srv/intel.com/fpga")
	} else if bitstreams, err = filepath.Abs(bitstreams); err != nil {
		return nil, err
	}
	flags, err := Fault{PRLoads: cfg.PRLoads}.check()
	if err != nil {
		return nil, err
	}
	flags.delay, flags.prErrno = cfg.PRDelay, cfg.PRErrno
	faults := &faultFile{path: cfg.FaultsFile, flags: flags}
	rec, err := openRecorder(cfg.RecordFile)
	if err != nil {
		return nil, err
	}
	s := &supervisor{
		board: b, store: newStore(b.root, bitstreams), faults: faults, recorder: rec, log: log, stopping: make(chan struct{}),
	}
	s.refreshFaults()
	return s, nil
}

func (cfg Config) command(ctx context.Context, path string, socket *os.File) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = cfg.Command
	env := cfg.Env
	if env == nil {
		env = os.Environ()
	}
	cmd.Env = append(append([]string(nil), env...), shimVariable+"="+path)
	cmd.Dir = cfg.Dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = cfg.Stdin, cfg.Stdout, cfg.Stderr
	cmd.ExtraFiles = []*os.File{socket}
	// Without its supervisor a command is of no use: its opens would fail with ENOSYS.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "shim"), os.NewFile(uintptr(fds[1]), "supervisor"), nil
}

// handshake receives the listener from the shim, and then the end of the socket, which says that COMMAND took its place.
func handshake(socket *os.File) (listenerFD int, err error) {
	listenerFD = -1
	for {
		buf, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
		n, oobn, _, _, err := unix.Recvmsg(int(socket.Fd()), buf, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return listenerFD, fmt.Errorf("shim: %w", err)
		case n == 0 && listenerFD < 0:
			return -1, errors.New("shim ended before it was ready (does the program call emulator.Shim first?)")
		case n == 0:
			return listenerFD, nil
		case oobn == 0:
			if listenerFD >= 0 {
				unix.Close(listenerFD)
			}
			return -1, errors.New(string(buf[:n]))
		}
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			return -1, err
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil {
			return -1, err
		}
		listenerFD = fds[0]
	}
}

// supervise serves until COMMAND has ended, and then as long as it has to.
func (s *supervisor) supervise(cmd *exec.Cmd, linger bool) (int, error) {
	var stop [2]int
	if err := unix.Pipe2(stop[:], unix.O_CLOEXEC); err != nil {
		return 1, err
	}
	defer unix.Close(stop[0])
	served := make(chan error, 1)
	go func() { served <- s.serve(stop[0]) }()
	watched := make(chan struct{})
	go func() { s.watchFaults(); close(watched) }()
	waitErr := cmd.Wait()
	if !linger {
		unix.Close(stop[1])
	}
	err := <-served
	if linger {
		unix.Close(stop[1])
	}
	close(s.stopping)
	s.calls.Wait()
	<-watched
	var exit *exec.ExitError
	if waitErr != nil && !errors.As(waitErr, &exit) {
		err = errors.Join(err, waitErr)
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), err
	}
	return cmd.ProcessState.ExitCode(), err
}

// faultsPoll is how soon a changed faults file shows in the tree without a call that would make us look.
const faultsPoll = 20 * time.Millisecond

// watchFaults applies the faults file as it changes, until stopping.
func (s *supervisor) watchFaults() {
	if s.faults.path == "" {
		return
	}
	ticker := time.NewTicker(faultsPoll)
	defer ticker.Stop()
	for {
		select {
		case <-s.stopping:
			return
		case <-ticker.C:
			s.refreshFaults()
		}
	}
}

// forward passes signals on to COMMAND until the returned function is called.
func forward(p *os.Process, signals []os.Signal) func() {
	if len(signals) == 0 {
		return func() {}
	}
	ch := make(chan os.Signal, 16)
	signal.Notify(ch, signals...)
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case sig := <-ch:
				_ = p.Signal(sig) // it may have ended
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(ch)
		close(done)
		<-ended
	}
}
