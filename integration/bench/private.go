package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tmp is where everything temporary lies, the harness' nodes too.
const tmp = "/tmp"

// again runs this program once more, in a mount namespace of its own whose /tmp is memory: containerd syncs its database
// at each call, and what the disk does for others meanwhile would be most of what is measured. Nothing is left of it.
// Ok is false where that cannot be done; the reason is for the reader.
func again(ctx context.Context) (ok bool, reason string, err error) {
	if os.Geteuid() != 0 {
		return false, "not root", nil
	}
	if at, err := below(tmp); err != nil || at != "" {
		return false, at + " would be hidden", err
	}
	self, err := os.Executable()
	if err != nil {
		return false, "", err
	}
	cmd := exec.CommandContext(ctx, self, append([]string{"-" + insideFlag}, os.Args[1:]...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 2 * time.Minute // it takes down what it has started
	if err := cmd.Start(); errors.Is(err, unix.EPERM) {
		return false, "no mount namespace: " + err.Error(), nil
	} else if err != nil {
		return false, "", err
	}
	err = cmd.Wait()
	if failed := new(exec.ExitError); errors.As(err, &failed) && failed.Exited() {
		err = errSaid
	}
	return true, "", err
}

// errSaid stands for an error that the second run has told of.
var errSaid = errors.New("the run inside failed")

const insideFlag = "inside"

// memoryTmp is the second one's first step.
func memoryTmp() error {
	if err := unix.Mount("tmpfs", tmp, "tmpfs", 0, "mode=1777"); err != nil {
		return fmt.Errorf("a private %s: %w", tmp, err)
	}
	if os.Getenv("INLAY_ARTIFACTS") == "" { // the logs of a stage that broke are to outlive it
		return os.Setenv("INLAY_ARTIFACTS", "/var/tmp/inlay-failed")
	}
	return nil
}

// below names something that this program needs and that lies below dir.
func below(dir string) (string, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	places := map[string]string{"the working folder": cwd}
	for _, name := range []string{"HOME", "GOPATH", "GOROOT", "GOCACHE", "GOMODCACHE", "XDG_CACHE_HOME", "INLAY_CACHE"} {
		places[name] = os.Getenv(name)
	}
	for name, place := range places {
		if place == "" {
			continue
		}
		place, err := filepath.EvalSymlinks(place)
		if err == nil && strings.HasPrefix(place+"/", dir+"/") {
			return name, nil
		}
	}
	return "", nil
}
