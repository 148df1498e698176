// Package sweep takes away what a container runtime of a test's own has left behind:
// its processes and its cgroups. Processes are found by their command line and by their
// cgroup, never by name.
package sweep

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/inlay-project/inlay/integration/process"
)

// cgroupRoot is where cgroup hierarchies are mounted: one (v2) or a folder each (v1).
const cgroupRoot = "/sys/fs/cgroup"

// limit bounds the wait for killed processes to go.
const limit = 20 * time.Second

// Sweep kills the processes in the cgroups below cgroupParent and those with one of the
// arguments, each a word of a command line or several in a row, and removes the cgroups.
func Sweep(ctx context.Context, cgroupParent string, arguments ...string) error {
	if cgroupParent == "" || cgroupParent == "/" {
		return fmt.Errorf("sweep: %q is not a cgroup of our own", cgroupParent)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := process.Poll(ctx, func() error {
		// Anew each time: what is about to end may still make some.
		groups, err := cgroups(cgroupParent)
		if err != nil {
			return err
		}
		left := append(withArguments(arguments), members(groups)...)
		if err := process.KillAll(left); err != nil {
			return process.Permanent(err)
		}
		if len(left) > 0 {
			return fmt.Errorf("processes %v are still there", left)
		}
		slices.Reverse(groups) // children before parents
		for _, dir := range groups {
			// A cgroup stays busy for a moment after its last process has gone.
			if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	return nil
}

// cgroups lists the folders of a cgroup path and of all below it, in every hierarchy,
// parents first.
func cgroups(path string) ([]string, error) {
	hierarchies, err := filepath.Glob(cgroupRoot + "/*/cgroup.procs")
	if err != nil {
		return nil, err
	}
	roots := []string{cgroupRoot}
	for _, h := range hierarchies {
		roots = append(roots, filepath.Dir(h))
	}
	var dirs []string
	seen := map[string]bool{}
	for _, root := range roots {
		// cpu and cpuacct are often links to one hierarchy.
		top, err := filepath.EvalSymlinks(filepath.Join(root, path))
		if err != nil || seen[top] {
			continue
		}
		seen[top] = true
		err = filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // a container that ended meanwhile
			}
			if err == nil && d.IsDir() {
				dirs = append(dirs, p)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return dirs, nil
}

// members are the processes in the cgroups.
func members(groups []string) []int {
	var pids []int
	for _, dir := range groups {
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue // gone
		}
		for field := range strings.FieldsSeq(string(b)) {
			// 0 stands for a process outside our PID namespace: not ours to kill.
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 && !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// withArguments are the processes that were started with one of the arguments.
func withArguments(arguments []string) []int {
	var pids []int
	for _, a := range arguments {
		pids = append(pids, process.With("\x00"+strings.ReplaceAll(a, " ", "\x00")+"\x00")...)
	}
	return pids
}
