//go:build integration

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// makeCluster is longer than a start on a machine that has built Kubernetes before; it has where other tests ran.
const makeCluster = 10 * time.Minute

// command runs a shell command at the top of the source tree and returns what it prints.
func command(t *testing.T, limit time.Duration, text string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-e", "-o", "pipefail", "-c", text)
	cmd.Dir = filepath.Join("..", "..", "..")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s\n%s", err, text, out)
	}
	return string(out)
}

var (
	// printedCommand is a line of the usage that is to be typed, with what it is to show.
	printedCommand = regexp.MustCompile(`(?m)^  ((?:export|kubectl) .*?)(?: +# (.*))?$`)
	printedFolder  = regexp.MustCompile(`logs in (/tmp/\S+)/\*\.log`)
)

// `make cluster`, then what it prints, word by word, then `make cluster-stop`. A cluster that somebody keeps on this
// machine has another state folder and stays.
func TestAPersonsClusterDoesWhatItPrintsAndLeavesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("a cluster of real components needs root")
	}
	state := filepath.Join(t.TempDir(), "state")
	flags := ` CLUSTERFLAGS="-state ` + state + `"`
	stop := "make cluster-stop" + flags
	defer func() { command(t, endLimit+time.Minute, stop) }()
	usage := command(t, makeCluster, "make cluster"+flags)
	t.Log(usage)
	found := printedFolder.FindStringSubmatch(usage)
	if found == nil {
		t.Fatal("the usage does not say where the logs are")
	}
	dir := found[1]
	if has := kinds(leftovers(t, dir, state)); !slices.Equal(has, []string{"control group", "folder", "mount", "process"}) {
		t.Errorf("of a cluster that runs there are %v: what is looked for is wrong", has)
	}

	var script, wants []string
	for _, line := range printedCommand.FindAllStringSubmatch(usage, -1) {
		script = append(script, line[1])
		if line[2] != "" {
			wants = append(wants, strings.Join(strings.Fields(line[2]), " "))
		}
	}
	if len(script) != 6 || len(wants) != 1 {
		t.Fatalf("the usage has the commands %q, which show %q", script, wants)
	}
	out := command(t, 3*time.Minute, strings.Join(script, "\n"))
	for _, want := range append(wants, "Ready", "region", "pod/nlb3 created", "condition met", `pod "nlb3" deleted`) {
		if !strings.Contains(out, want) {
			t.Errorf("the printed commands do not show %q:\n%s", want, out)
		}
	}
	if again := command(t, time.Minute, "make cluster"+flags); !strings.Contains(again, "is running already") || !strings.Contains(again, dir) {
		t.Errorf("make cluster once more:\n%s", again)
	}

	if !strings.Contains(usage, stop) {
		t.Errorf("the usage does not say %q", stop)
	}
	if out := command(t, endLimit+time.Minute, stop); !strings.Contains(out, "The cluster is gone.") {
		t.Errorf("make cluster-stop: %s", out)
	}
	if left := leftovers(t, dir, state); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	var files []string
	entries, err := os.ReadDir(state)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		files = append(files, e.Name())
	}
	// What the next start is quicker with, and what tells of this one.
	if diff := cmp.Diff([]string{"kubectl", logFile, pidFile, "tools"}, files); diff != "" {
		t.Errorf("the state folder (-want +got):\n%s", diff)
	}
	if out := command(t, time.Minute, stop); !strings.Contains(out, "No cluster is running.") {
		t.Errorf("make cluster-stop once more: %s", out)
	}
}

// leftovers are what there is on this machine of a cluster, by the folder that it has and by its state folder: a line
// each that begins with its kind.
func leftovers(t *testing.T, dir, state string) []string {
	t.Helper()
	var all []string
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		all = append(all, "folder: "+dir)
	}
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, _ os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil // gone meanwhile
		}
		if err == nil && strings.Contains(path, filepath.Base(dir)) {
			all = append(all, "control group: "+path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		if filepath.Base(p) == strconv.Itoa(os.Getpid()) {
			continue
		}
		for file, kind := range map[string]string{"cmdline": "process", "cgroup": "process", "environ": "process", "mountinfo": "mount"} {
			text, _ := os.ReadFile(filepath.Join(p, file)) // it may have ended
			if bytes.Contains(text, []byte(filepath.Base(dir))) || bytes.Contains(text, []byte(state)) {
				all = append(all, kind+": "+p+"/"+file)
			}
		}
	}
	return all
}

// kinds are the kinds in a list of leftovers.
func kinds(left []string) []string {
	var all []string
	for _, line := range left {
		kind, _, _ := strings.Cut(line, ":")
		all = append(all, kind)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
