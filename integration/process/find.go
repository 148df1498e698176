package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// With are the processes, but for this one, whose command line holds all the texts. Its
// arguments are separated and ended by NUL. Processes that have ended and wait to be
// collected have no command line and do not count.
func With(text string, more ...string) []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
next:
	for _, f := range files {
		line, err := os.ReadFile(f)
		if err != nil {
			continue // ended
		}
		for _, s := range append([]string{text}, more...) {
			if !bytes.Contains(line, []byte(s)) {
				continue next
			}
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// KillAll kills processes; those that have ended meanwhile are no error.
func KillAll(pids []int) error {
	var errs []error
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("kill %d: %w", pid, err))
		}
	}
	return errors.Join(errs...)
}
