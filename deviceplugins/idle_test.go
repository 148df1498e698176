package main

import (
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/inlay-project/inlay/webhook/api/follow/followtest"
)

// idleFor is the time over which an idle process is measured; the benchmarks take minutes.
var idleFor = flag.Duration("idle", 10*time.Second, "how long TestAnIdleProcessCostsNextToNothing measures")

// The promises of an idle process: a minute's voluntary context switches of all threads, and memory of its own.
const (
	mostSwitches = 30
	startup      = 5 // more, in a window of any length: what begins may not have come to rest when it opens
	mostAnonKiB  = 12 << 10
	windows      = 5 // at most, and the lowest counts: a neighbour's uevents wake it now and then, what ticks shows in each
)

func TestAnIdleProcessCostsNextToNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("measures for 10 s")
	}
	t.Parallel()
	bin := filepath.Join(t.TempDir(), "inlay-deviceplugin")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	root := emulated(t, "dfl:ports=2", "dfl:ports=2,numa=1")
	k := startKubelet(t, root)
	lastHour := time.Now().Add(-time.Hour) // a young kubelet is asked several times who holds what
	if err := os.Chtimes(k.PodResourcesSocket(), lastHour, lastHour); err != nil {
		t.Fatal(err)
	}
	api := startCluster(t, followtest.Options{Bookmarks: time.Minute})
	api.function("ns", "n0", "region", nlb0)
	policy := root + "/var/lib/inlay/policy.json"
	cmd := exec.Command(bin, "--host-root", root, "--http", "127.0.0.1:0", "--node-name", "n1", "--kubeconfig", api.config,
		"--fpga-mode", "region", "--policy", policy)
	cmd.Env = []string{}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Signal(syscall.SIGTERM)
	lists(t, limit, k, region, 2, "dfl-fme.0", "dfl-fme.1")
	labelled(t, api.node, "region")
	holdsPolicy(t, policy, nlb0, true)
	time.Sleep(8 * time.Second) // the timers of registration and of the first requests
	most, n := startup+int(mostSwitches*idleFor.Minutes()), math.MaxInt
	for range windows {
		before := switches(t, cmd.Process.Pid)
		time.Sleep(*idleFor)
		if n = min(n, switches(t, cmd.Process.Pid)-before); n <= most {
			break
		}
	}
	anon := statusField(t, fmt.Sprintf("/proc/%d/status", cmd.Process.Pid), "RssAnon:")
	t.Logf("%d voluntary context switches in %v, RssAnon %d KiB", n, *idleFor, anon)
	if n > most {
		t.Errorf("%d voluntary context switches in %v, want at most %d", n, *idleFor, most)
	}
	if anon > mostAnonKiB {
		t.Errorf("RssAnon %d KiB, want at most %d", anon, mostAnonKiB)
	}
}

// switches counts the voluntary context switches of all threads of a process.
func switches(t *testing.T, pid int) int {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("process %d: %v", pid, err)
	}
	total := 0
	for _, f := range files {
		total += statusField(t, f, "voluntary_ctxt_switches:")
	}
	return total
}

func statusField(t *testing.T, file, field string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, field); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("%s has no %s", file, field)
	return 0
}
