package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// kernel reads from /proc and the control groups what the node's containers have. It asks no program of the cluster.
type kernel struct {
	cgroup  string            // of the cluster: "/iic-123"
	mounts  string            // the node's mount namespace, which is no container's
	bundles string            // folder of the runtime's bundles
	numbers map[string]string // names of the cards' nodes, by "major:minor"
	majors  map[uint32]bool
	unified bool // control groups of version 2: what they allow cannot be asked
	// sandboxes are what is known of containers, by id.
	sandboxes map[string]bool
}

// sinceBoot is the time that the kernel counts processes' starts in.
func sinceBoot() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// ticks is how many a second the kernel's clock in /proc has, on every architecture that we know.
const ticks = 100

// process is one line of the process table.
type process struct {
	pid   int
	since time.Duration
	group string
}

// containers are those whose program runs. What a container has may be looked at only while it lives: one that ended
// meanwhile is left out, so that all that are returned lived at one moment, the end of the look.
func (k *kernel) containers() ([]Container, error) {
	processes, err := k.processes()
	if err != nil {
		return nil, err
	}
	var all []Container
	for id, p := range processes {
		c, ok := k.container(id, p)
		if ok {
			all = append(all, c)
		}
	}
	all = slices.DeleteFunc(all, func(c Container) bool {
		since, ok := startOf(c.Pid)
		return !ok || since != c.Since
	})
	slices.SortFunc(all, func(a, b Container) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}

// processes are the first ones of the cluster's containers, by the container's id.
func (k *kernel) processes() (map[string]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	first := map[string]process{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		group := groupOf(pid)
		if !strings.HasPrefix(group, k.cgroup+"/") || k.outside(pid) {
			continue
		}
		since, ok := startOf(pid)
		if !ok {
			continue
		}
		id := strings.TrimPrefix(filepath.Base(group), "crio-")
		if known, ok := first[id]; !ok || since < known.since || since == known.since && pid < known.pid {
			first[id] = process{pid: pid, since: since, group: group}
		}
	}
	return first, nil
}

// outside says whether a process in a container's control group is not, or not yet, in the container: the runtime's own,
// whose root is the host's.
func (k *kernel) outside(pid int) bool {
	mounts, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil || mounts == k.mounts {
		return true
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(line) == 0 {
		return true // ended
	}
	args := bytes.Split(line, []byte{0})
	return len(args) > 1 && filepath.Base(string(args[0])) == "runc" && string(args[1]) == "init"
}

// groupOf is the process's control group, of the hierarchy that rules over devices.
func groupOf(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return ""
	}
	group := ""
	for line := range strings.Lines(string(data)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if slices.Contains(strings.Split(parts[1], ","), "devices") {
			return parts[2]
		}
		if parts[0] == "0" {
			group = parts[2]
		}
	}
	return group
}

// startOf is when a process that lives began; a zombie does not live.
func startOf(pid int) (time.Duration, bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	// The name, in parentheses, may hold anything.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return 0, false
	}
	n, err := strconv.ParseInt(fields[19], 10, 64)
	return time.Duration(n) * time.Second / ticks, err == nil
}

func (k *kernel) container(id string, p process) (Container, bool) {
	c := Container{ID: id, Pid: p.pid, Since: p.since, PodUID: podUID(p.group)}
	var err error
	if c.Nodes, err = k.nodes(p.pid); err != nil {
		return c, false // it ends
	}
	if c.Rules, err = k.rules(p.group); err != nil {
		return c, false
	}
	if k.unified {
		c.Rules = c.Nodes
	}
	c.Sandbox = k.isSandbox(id)
	return c, true
}

// podUID takes it from a control group: …/kubepods/besteffort/pod<uid>/<container>.
func podUID(group string) string {
	return strings.TrimPrefix(filepath.Base(filepath.Dir(group)), "pod")
}

// nodes are the cards' nodes in a process's /dev, whatever they are called there.
func (k *kernel) nodes(pid int) ([]string, error) {
	var found []string
	dir := fmt.Sprintf("/proc/%d/root/dev", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		var st unix.Stat_t
		if e.Type()&fs.ModeCharDevice == 0 || unix.Lstat(filepath.Join(dir, e.Name()), &st) != nil {
			continue
		}
		major, minor := unix.Major(st.Rdev), unix.Minor(st.Rdev)
		if k.majors[major] {
			found = append(found, k.called(major, strconv.FormatUint(uint64(minor), 10)))
		}
	}
	slices.Sort(found)
	return found, nil
}

func (k *kernel) called(major uint32, minor string) string {
	number := fmt.Sprintf("%d:%s", major, minor)
	if name, ok := k.numbers[number]; ok {
		return name
	}
	return number
}

// deviceList is the control group's list of what may be opened; only version 1 can be asked.
const deviceList = "/sys/fs/cgroup/devices%s/devices.list"

// rules are what a control group allows of the cards.
func (k *kernel) rules(group string) ([]string, error) {
	if k.unified {
		return nil, nil
	}
	data, err := os.ReadFile(fmt.Sprintf(deviceList, group))
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(data)) {
		var kind, number, access string
		if n, _ := fmt.Sscan(line, &kind, &number, &access); n != 3 || kind == "b" || !strings.ContainsAny(access, "rw") {
			continue
		}
		major, minor, _ := strings.Cut(number, ":")
		if major == "*" {
			found = append(found, strings.TrimSpace(line))
			continue
		}
		if m, err := strconv.ParseUint(major, 10, 32); err == nil && k.majors[uint32(m)] {
			found = append(found, k.called(uint32(m), minor))
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// isSandbox says whether a container is its pod's own, by its OCI configuration.
func (k *kernel) isSandbox(id string) bool {
	if is, known := k.sandboxes[id]; known {
		return is
	}
	for _, pattern := range []string{"io.containerd.runtime.v2.task/k8s.io/%s/config.json", "overlay-containers/%s/userdata/config.json"} {
		if text, err := os.ReadFile(filepath.Join(k.bundles, fmt.Sprintf(pattern, id))); err == nil {
			k.sandboxes[id] = ofSandbox(text)
			return k.sandboxes[id]
		}
	}
	return false
}

func ofSandbox(config []byte) bool {
	var spec struct {
		Annotations map[string]string `json:"annotations"`
	}
	return json.Unmarshal(config, &spec) == nil && (spec.Annotations["io.kubernetes.cri.container-type"] == "sandbox" ||
		spec.Annotations["io.kubernetes.cri-o.ContainerType"] == "sandbox")
}
