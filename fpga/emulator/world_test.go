package emulator

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCapabilityOfAUserNamespaceDoesNotReachTheHostsNode(t *testing.T) {
	needRoot(t)
	if err := os.WriteFile("/proc/self/setgroups", []byte("allow"), 0); errors.Is(err, fs.ErrNotExist) {
		t.Skip("SKIPPED: this kernel has no user namespaces")
	}
	m := newMachine(t, false, twoPorts)
	m.run("namespace", strconv.Itoa(int(unix.EACCES)))
	if err := os.Chmod(filepath.Join(m.root, "dev/dfl-port.0"), 0o666); err != nil {
		t.Fatal(err)
	}
	m.run("namespace", "0")
}

func TestDeviceCgroupRefusesWithEPERM(t *testing.T) {
	needRoot(t)
	group, err := os.MkdirTemp("/sys/fs/cgroup/devices", "emulator-test-")
	if err != nil {
		t.Skipf("SKIPPED: no device cgroup (v1) to be made here: %v", err)
	}
	t.Cleanup(func() {
		if err := eventually("cgroup removed", func() bool { return os.Remove(group) == nil }); err != nil {
			t.Error(err)
		}
	})
	newMachine(t, false, twoPorts).run("cgroup", group)
}

func TestPRFromAFileThatShrankIsEFAULT(t *testing.T) {
	m := newMachine(t, true, twoPorts)
	m.run("shrunk")
	if got := m.afu("dfl-port.0"); got != nlb0 {
		t.Errorf("afu_id is %s", got)
	}
}

func TestTwoEmulatorsOnOneTreeShareTheCard(t *testing.T) {
	m := newMachine(t, true, twoPorts)
	other := &machine{t: t, root: m.root, cfg: m.cfg}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	m.cfg.Stdin = r
	wait := m.start("hold")
	if err := eventually("port open", func() bool { _, err := os.Stat(filepath.Join(m.root, "run/holding")); return err == nil }); err != nil {
		t.Error(err)
	}
	other.run("open", "0", strconv.Itoa(int(unix.EBUSY)))
	w.Close()
	if code, err := wait(); code != 0 || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
	r.Close()
	m.cfg.Stdin = nil
	other.run("open", strconv.Itoa(unix.O_EXCL), "0")

	const delay = 200 * time.Millisecond
	m.cfg.PRDelay, other.cfg.PRDelay = delay, delay
	p := payloadFile(t, m.install(DefaultInterface, nlb3, 100))
	wait1, wait2 := m.start("pr", p, "dfl-fme.0", "0", "0"), other.start("pr", p, "dfl-fme.0", "1", "0")
	for _, wait := range []func() (int, error){wait1, wait2} {
		if code, err := wait(); code != 0 || err != nil {
			t.Errorf("exit code %d, %v", code, err)
		}
	}
	if m.afu("dfl-port.0") != nlb3 || m.afu("dfl-port.1") != nlb3 {
		t.Errorf("afu_ids are %s and %s", m.afu("dfl-port.0"), m.afu("dfl-port.1"))
	}
	if recs := m.records(); len(recs) != 2 || recs[1].End.Sub(recs[0].End) < delay/2 {
		t.Errorf("records: %+v", recs)
	}
}

func TestPRLeftBehindByAKilledEmulatorIsRecovered(t *testing.T) {
	m := newMachine(t, true, twoPorts)
	file := filepath.Join(m.root, "sys/bus/platform/devices/dfl-port.0/afu_id")
	if err := makeUnreadable(file); err != nil { // what a kill in the middle of a PR leaves
		t.Fatal(err)
	}
	m.run("nothing")
	if got := m.afu("dfl-port.0"); got != noFunction {
		t.Errorf("afu_id is %s", got)
	}
}

func TestTreeMadeAgainUnderTheEmulatorIsSeen(t *testing.T) {
	m := newMachine(t, true, Card{Driver: OPAE, Ports: 1})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	m.cfg.Stdin = r
	wait := m.start("late")
	if err := os.RemoveAll(filepath.Join(m.root, "sys")); err != nil {
		t.Error(err)
	}
	if err := WriteTree(m.root, []Card{twoPorts}, PlainNodes()); err != nil {
		t.Error(err)
	}
	w.Close()
	if code, err := wait(); code != 0 || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
}

// The Go runtime signals its own threads to preempt them; the kernel's answer to a call that waits for the listener's
// lock is EINTR then. Here every thread is signalled all the time.
func TestNoCallIsLostWhileTheEmulatorIsSignalled(t *testing.T) {
	m := newMachine(t, true, twoPorts)
	ended := make(chan struct{})
	var signals sync.WaitGroup
	signals.Go(func() {
		for {
			select {
			case <-ended:
				return
			default:
			}
			tasks, err := os.ReadDir("/proc/self/task")
			if err != nil {
				t.Error(err)
				return
			}
			for _, task := range tasks {
				if id, err := strconv.Atoi(task.Name()); err == nil {
					_ = unix.Tgkill(os.Getpid(), id, unix.SIGURG) // a thread that has ended is fine
				}
			}
		}
	})
	m.run("busy", "300")
	close(ended)
	signals.Wait()
	if recs := m.records(); len(recs) != 16*300 {
		t.Errorf("%d calls are recorded of %d", len(recs), 16*300)
	}
}
