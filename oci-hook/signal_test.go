package main

import (
	"bytes"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga/emulator"
)

// ending are the signals that ask a process to end; Go's runtime would print a trace for the last two.
var ending = []syscall.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGABRT}

// needSignal skips where a signal is ignored, and by what is started here too: under nohup.
func needSignal(t *testing.T, sig os.Signal) {
	t.Helper()
	if signal.Ignored(sig) {
		t.Skipf("SKIPPED: %v is ignored here", sig)
	}
}

// ended runs the hook, sends the signal once ready says so, and gives its line.
func ended(t *testing.T, cmd *exec.Cmd, sig syscall.Signal, ready func() bool) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); !ready(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("it did not come to where it waits")
			break
		}
	}
	if err := cmd.Process.Signal(sig); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
	line, rest, _ := strings.Cut(stderr.String(), "\n")
	if cmd.ProcessState.ExitCode() != 1 || rest != "" {
		t.Errorf("%v, standard error %q; want exit code 1 and a line", cmd.ProcessState, stderr.String())
	}
	return line
}

// A hook that waits for its standard input looks at no context.
func TestASignalEndsAHookThatWaitsForItsState(t *testing.T) {
	for _, sig := range ending {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			needSignal(t, sig)
			t.Parallel()
			cmd := exec.Command(programs.path(t, "inlay-hook"))
			stdin, state, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer stdin.Close()
			defer state.Close()
			cmd.Stdin = stdin
			if _, err := state.WriteString("{"); err != nil {
				t.Fatal(err)
			}
			got := ended(t, cmd, sig, func() bool {
				unread, err := unix.IoctlGetInt(int(stdin.Fd()), unix.TIOCINQ)
				return err == nil && unread == 0
			})
			if want := "inlay-hook: ended by " + unix.SignalName(sig); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

func TestASignalEndsAHookThatWaitsForTheCardAndItSaysSo(t *testing.T) {
	for _, sig := range ending {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			needSignal(t, sig)
			t.Parallel()
			n := newNode(t, "dfl").put(nlb3)
			if err := os.MkdirAll(n.runDir(), 0o700); err != nil {
				t.Fatal(err)
			}
			lock, err := os.Create(filepath.Join(n.runDir(), "lock-"+card0))
			if err != nil {
				t.Fatal(err)
			}
			defer lock.Close()
			if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(programs.path(t, "inlay-hook"), "program", "--host-root", n.root, "--pair", pairArg("dfl-port.0", card0, nlb3))
			got := ended(t, cmd, sig, func() bool { return hasOpen(cmd.Process.Pid, lock.Name()) })
			want(t, got, "inlay-hook: port dfl-port.0: function "+nlb3+": dfl-fme.0 is being programmed for somebody else …: ended by "+unix.SignalName(sig))
			if e := n.journal(); len(e) != 1 || e[0].Reason != "wait" {
				t.Errorf("journal %+v", e)
			}
		})
	}
}

func hasOpen(pid int, file string) bool {
	fds, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "fd/*"))
	for _, fd := range fds {
		if link, err := os.Readlink(fd); err == nil && link == file {
			return true
		}
	}
	return false
}

// It is the end by SIGKILL with a line more: the kernel finishes what has begun, and the next hook sees it.
func TestAHookEndedInTheMiddleLeavesNothingInTheWay(t *testing.T) {
	l := newLive(t, "dfl")
	l.put(nlb3)
	l.faults(emulator.Faults{"dfl-fme.0": {PRDelay: "1500ms"}})
	lines := strings.Split(l.script(`"$hook" program `+pairFlag("dfl-port.0", card0, nlb3)+` & first=$!
until grep -q '"programming"' "$INLAY_HOST_ROOT/run/inlay/load-`+card0+`-0.json" 2>/dev/null; do sleep 0.05; done
sleep 0.2; kill -TERM $first; wait $first; echo "exit code $?" >&2
exec "$hook" program `+pairFlag("dfl-port.0", card0, nlb3)), "\n")
	if len(lines) != 2 || lines[1] != "exit code 1" {
		t.Fatalf("lines %q", lines)
	}
	want(t, lines[0], "inlay-hook: port dfl-port.0: function "+nlb3+": the kernel is still programming it: ended by SIGTERM")
	if got := l.afu("dfl-port.0"); got != nlb3 {
		t.Errorf("holds %s", got)
	}
	l.wantPRs(map[string]int{"dfl-port.0": 2}) // the first one's end was not verified by anybody
}
