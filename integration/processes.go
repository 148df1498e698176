package integration

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// processesWith are the processes whose command line, arguments separated and ended by
// NUL, holds all the texts.
func processesWith(texts ...string) []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
next:
	for _, f := range files {
		line, err := os.ReadFile(f)
		if err != nil {
			continue // ended
		}
		for _, text := range texts {
			if !bytes.Contains(line, []byte(text)) {
				continue next
			}
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// killAll kills processes; those that have ended meanwhile are no error.
func killAll(pids []int) error {
	var errs []error
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
