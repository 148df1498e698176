package process

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// starters are the two ways to run a program; the tests below hold for both.
func starters(t *testing.T) map[string]func(Command) (*Process, error) {
	dir := t.TempDir()
	l, err := NewLauncher(t.Context(), LauncherOptions{Log: filepath.Join(dir, "launcher.log"), Env: []string{"PATH=/usr/bin:/bin"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return map[string]func(Command) (*Process, error){
		"child":    Start,
		"launcher": func(c Command) (*Process, error) { return l.Start(t.Context(), c) },
	}
}

func TestOutputAndEndAreSeen(t *testing.T) {
	for name, start := range starters(t) {
		t.Run(name, func(t *testing.T) {
			p, err := start(Command{
				Name: "talker", Path: "/bin/sh", Args: []string{"-c", `echo "it's $WORD"; echo two >&2`},
				Env: []string{"WORD=a b"}, Log: filepath.Join(t.TempDir(), "log"),
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Wait(short(t)); err != nil {
				t.Fatal(err)
			}
			if got, want := p.Output(), "it's a b\ntwo\n"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestStoppedProcessIsAliveAndCanBeTerminated(t *testing.T) {
	for name, start := range starters(t) {
		t.Run(name, func(t *testing.T) {
			p, err := start(Command{Name: "sleeper", Path: "/bin/sleep", Args: []string{"60"}, Log: filepath.Join(t.TempDir(), "log")})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Stop(); err != nil {
				t.Fatal(err)
			}
			if !p.Alive() {
				t.Error("a stopped process counts as ended")
			}
			if err := p.Terminate(short(t), 5*time.Second); err != nil {
				t.Error(err)
			}
			if p.Alive() {
				t.Error("alive after Terminate")
			}
		})
	}
}

func TestTerminateKillsWhoIgnoresItAndSaysSo(t *testing.T) {
	p, err := Start(Command{
		Name: "stubborn", Path: "/bin/sh", Args: []string{"-c", "trap '' TERM; echo up; while :; do sleep 1; done"},
		Env: []string{"PATH=/bin"}, Log: filepath.Join(t.TempDir(), "log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.WaitForOutput(short(t), "up"); err != nil {
		t.Fatal(err)
	}
	if err := p.Terminate(short(t), 50*time.Millisecond); err == nil || !strings.Contains(err.Error(), "did not end within") {
		t.Errorf("got %v", err)
	}
	if p.Alive() {
		t.Error("alive after Terminate")
	}
}

func TestWaitForOutputFailsWhenTheProcessEndsFirst(t *testing.T) {
	p, err := Start(Command{Name: "short", Path: "/bin/echo", Args: []string{"other"}, Log: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	err = p.WaitForOutput(short(t), "ready")
	if err == nil || !strings.Contains(err.Error(), "ended without printing") || !strings.Contains(err.Error(), "other") {
		t.Errorf("got %v, want an error that holds its last lines", err)
	}
}

func TestPollReportsTheLastReason(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	reason := errors.New("not yet")
	if err := Poll(ctx, func() error { return reason }); !errors.Is(err, reason) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestPrivateMountsStayInside(t *testing.T) {
	if err := exec.Command("unshare", "--mount", "true").Run(); err != nil {
		t.Skip("this machine allows no mount namespace (root only): ", err)
	}
	dir, bound := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(bound, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := NewLauncher(t.Context(), LauncherOptions{
		PrivateMounts: true, Binds: [][2]string{{bound, "/opt"}}, Log: filepath.Join(dir, "log"), Env: []string{"PATH=/usr/bin:/bin"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	p, err := l.Start(t.Context(), Command{
		Name: "mount", Path: "/bin/sh", Args: []string{"-c", "mount -t tmpfs none " + dir + " && touch " + dir + "/inside && test -e /opt/file && echo mounted"},
		Env: []string{"PATH=/usr/bin:/bin"}, Log: filepath.Join(t.TempDir(), "log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.WaitForOutput(short(t), "mounted"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/opt/file"); err == nil {
		t.Error("the bind mount is visible on the host")
	}
	if _, err := os.Stat(filepath.Join(dir, "inside")); err == nil {
		t.Error("the mount is visible on the host")
	}
}

func TestPrivatePIDsShowNobodyElseAndEndWithTheShell(t *testing.T) {
	l := privatePIDs(t)
	p, err := l.Start(t.Context(), Command{
		Name: "looker", Path: "/bin/sh", Args: []string{"-c", "echo self $$; echo " + strconv.Itoa(os.Getpid()) + " is $(test -d /proc/" + strconv.Itoa(os.Getpid()) + " && echo seen || echo unseen); sleep 60 & wait"},
		Env: []string{"PATH=/usr/bin:/bin"}, Log: filepath.Join(t.TempDir(), "log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.WaitForOutput(short(t), "is unseen"); err != nil {
		t.Error(err)
	}
	if strings.Contains(p.Output(), "self "+strconv.Itoa(p.Pid())+"\n") {
		t.Errorf("Pid() is the one of the inside: %q", p.Output())
	}
	if line, err := os.ReadFile("/proc/" + strconv.Itoa(p.Pid()) + "/cmdline"); err != nil || !strings.Contains(string(line), "self $$") {
		t.Errorf("Pid() is another's: %q, %v", line, err)
	}
	if err := l.Close(short(t)); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(short(t)); err != nil {
		t.Error(err)
	}
}

// A program may have ended, and have been collected by the shell, before anybody can look.
func TestProgramsMayEndAtOnce(t *testing.T) {
	inside := privatePIDs(t)
	ways := starters(t)
	ways["private PIDs"] = func(c Command) (*Process, error) { return inside.Start(t.Context(), c) }
	for name, start := range ways {
		t.Run(name, func(t *testing.T) {
			for range 200 {
				p, err := start(Command{Name: "echo", Path: "/bin/echo", Args: []string{"said"}, Log: filepath.Join(t.TempDir(), "log")})
				if err != nil {
					t.Fatal(err)
				}
				if err := p.Wait(short(t)); err != nil {
					t.Fatal(err)
				}
				if p.Output() != "said\n" {
					t.Fatalf("it printed %q", p.Output())
				}
			}
		})
	}
	if err := inside.Close(short(t)); err != nil {
		t.Error(err)
	}
}

func privatePIDs(t *testing.T) *Launcher {
	t.Helper()
	if err := exec.Command("unshare", "--mount", "--pid", "--fork", "true").Run(); err != nil {
		t.Skip("this machine allows no PID namespace (root only): ", err)
	}
	l, err := NewLauncher(t.Context(), LauncherOptions{
		PrivateMounts: true, PrivatePIDs: true, Log: filepath.Join(t.TempDir(), "log"), Env: []string{"PATH=/usr/bin:/bin"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}
