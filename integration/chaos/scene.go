package chaos

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/integration/cluster"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/policy"
)

// Scene is a cluster under chaos: what was done to it, and what is known of it. Its steps are done one after the other;
// it is looked at all the time, by another goroutine.
type Scene struct {
	c        *cluster.Cluster
	log      io.Writer
	began    time.Time
	versions []string // tags of the node image
	node     string   // the node's root, with what is mounted there
	nodePid  int
	kernel   *kernel
	watch    *witnesses
	books    *books
	cards    Cards
	tasks    sync.WaitGroup
	files    int           // that were stored
	enough   chan struct{} // closed by the violation that until accepts

	mu          sync.Mutex
	step        int
	done        []Step
	pods        map[string]Pod // by UID
	unsure      map[string]Pod // by name: the API server's answer was lost
	refused     map[string]string
	faults      emulator.Faults
	faulty      []Span
	interrupted []Span
	away        []Span // see Trouble
	static      []Span
	withdrawn   map[string]time.Duration
	frozen      map[string]func()
	mapped      map[string]string // mapping → function, as it should be
	version     string            // of the node image, as it should be
	report      *Report
	known       map[string]bool // violations that were told
	until       func(Violation) bool
	asked       time.Time // when the kubelet was asked last
	holders     map[string][]string
	stopHunt    context.CancelFunc
}

// open prepares a cluster on which Inlay is not installed yet: disks that can be full, and a place for witnesses.
func open(ctx context.Context, c *cluster.Cluster, log io.Writer) (*Scene, error) {
	s := &Scene{
		c: c, log: log, began: time.Now(), pods: map[string]Pod{}, unsure: map[string]Pod{}, refused: map[string]string{},
		books:     newBooks(c.HostPath("var/lib/kubelet/device-plugins/kubelet_internal_checkpoint")),
		withdrawn: map[string]time.Duration{}, frozen: map[string]func(){}, mapped: map[string]string{}, known: map[string]bool{}, report: newReport(),
		enough: make(chan struct{}),
	}
	var err error
	if s.nodePid, err = parentOf(c.Kubelet.Process().Pid()); err != nil {
		return nil, err
	}
	s.node = fmt.Sprintf("/proc/%d/root", s.nodePid)
	if err := s.mountDisks(ctx); err != nil {
		return nil, err
	}
	if s.watch, err = newWitnesses(c.HostPath(witnessDir)); err != nil {
		return nil, err
	}
	if s.kernel, s.cards, err = newKernel(c, s.nodePid); err != nil {
		return nil, err
	}
	for name := range functions {
		if err := s.store(name, stateGood); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// parentOf is the shell that starts the node's programs: it lives as long as the node.
func parentOf(pid int) (int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "PPid:"); ok {
			return strconv.Atoi(strings.TrimSpace(value))
		}
	}
	return 0, fmt.Errorf("process %d has no parent", pid)
}

// newKernel learns the cards' numbers from the emulated sysfs.
func newKernel(c *cluster.Cluster, node int) (*kernel, Cards, error) {
	mounts, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", node))
	if err != nil {
		return nil, nil, err
	}
	k := &kernel{
		cgroup: "/" + filepath.Base(c.Dir), mounts: mounts, bundles: filepath.Join(c.Dir, "c", "state"),
		numbers: map[string]string{}, majors: map[uint32]bool{}, sandboxes: map[string]bool{},
	}
	_, err = os.Stat("/sys/fs/cgroup/cgroup.controllers")
	k.unified = err == nil
	root, err := hostfs.New(c.HostRoot)
	if err != nil {
		return nil, nil, err
	}
	cards := Cards{}
	note := func(name string, dev hostfs.Dev) {
		k.numbers[fmt.Sprintf("%d:%d", dev.Major, dev.Minor)] = name
		k.majors[dev.Major] = true
	}
	for _, fme := range card.Discover(root).FMEs {
		note(fme.Name, fme.Dev)
		for _, port := range fme.Ports {
			note(port.Name, port.Dev)
			cards[fme.Name] = append(cards[fme.Name], port.Name)
		}
	}
	return k, cards, nil
}

// at is a path of the node, with what is mounted there, for this process.
func (s *Scene) at(path string) string { return s.node + path }

func (s *Scene) say(format string, args ...any) {
	fmt.Fprintf(s.log, "%7.1f s  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

// askEvery and askFor are how often the kubelet is asked whose the devices are, and how long it has for the answer.
const (
	lookEvery = 250 * time.Millisecond
	askEvery  = time.Second
	askFor    = 300 * time.Millisecond
)

// keepLooking looks until ctx ends.
func (s *Scene) keepLooking(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.look(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// look holds the promises that hold always against what is there now.
func (s *Scene) look(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.findUnsure(ctx)
	seen, err := s.see(ctx)
	if err != nil {
		s.violated("the look itself", err.Error())
		return
	}
	s.report.Looks++
	s.report.Containers(seen.Containers)
	for _, invariant := range Always() {
		for _, text := range invariant.Check(seen) {
			s.violated(invariant.Name, text)
		}
	}
}

func (s *Scene) see(ctx context.Context) (*Seen, error) {
	s.readPolicy()
	// First the containers: a pod whose devices the kubelet has given on cannot be listed with those of another.
	containers, err := s.kernel.containers()
	if err != nil {
		return nil, err
	}
	if err := s.books.read(); err != nil {
		return nil, err
	}
	for i, c := range containers {
		containers[i].Record, containers[i].RecordErr = s.books.record(c.PodUID)
	}
	if len(s.unsure) > 0 { // an FPGA may be one of theirs; whose it is will be known
		containers = slices.DeleteFunc(containers, func(c Container) bool {
			_, known := s.pods[c.PodUID]
			return !known && len(c.Nodes) > 0
		})
	}
	readings, err := s.watch.next()
	if err != nil {
		return nil, err
	}
	s.report.Readings += len(readings)
	return &Seen{
		At: sinceBoot(), Containers: containers, Pods: s.pods, Cards: s.cards, Holders: s.askKubelet(ctx), Readings: readings,
		Began: s.watch.began, Faulty: s.faulty, Interrupted: s.interrupted, Withdrawn: s.withdrawn, Refused: s.refused,
	}, nil
}

// askKubelet gives the last answer while it is fresh: what a pod was given never changes.
func (s *Scene) askKubelet(ctx context.Context) map[string][]string {
	if time.Since(s.asked) < askEvery {
		return s.holders
	}
	s.asked, s.holders = time.Now(), nil
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	all, err := s.c.Holders(ctx)
	if err != nil {
		return nil
	}
	s.holders = map[string][]string{}
	for _, h := range all {
		if strings.HasPrefix(h.Resource, vendor) {
			name := h.Namespace + "/" + h.Pod
			s.holders[name] = append(s.holders[name], h.Devices...)
			slices.Sort(s.holders[name])
		}
	}
	return s.holders
}

// readPolicy notes since when functions are not in the node's policy.
func (s *Scene) readPolicy() {
	granted := map[string]bool{}
	for _, f := range s.granted() {
		granted[f] = true
	}
	for _, f := range functions {
		_, gone := s.withdrawn[f]
		if granted[f] {
			delete(s.withdrawn, f)
		} else if !gone {
			s.withdrawn[f] = sinceBoot()
		}
	}
}

// granted are the functions that the node's policy gives the team, sorted.
func (s *Scene) granted() []string {
	data, err := os.ReadFile(s.at(policyFile))
	if err != nil {
		return nil
	}
	p, err := policy.Parse(data)
	if err != nil {
		return nil
	}
	var ids []string
	for _, f := range p.Namespaces[team].Functions {
		ids = append(ids, f.Function)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// forgetUnsure is for a cluster that is well: what was not created by now never will be.
func (s *Scene) forgetUnsure(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.findUnsure(ctx) {
		clear(s.unsure)
	}
}

// findUnsure asks for pods that may have been created though the API server's answer was lost, and says whether it was told.
func (s *Scene) findUnsure(ctx context.Context) bool {
	if len(s.unsure) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	for _, namespace := range []string{team, strangers} {
		list, err := s.c.Client().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false
		}
		for i := range list.Items {
			if p, ok := s.unsure[list.Items[i].Name]; ok && p.Namespace == namespace {
				s.register(p, string(list.Items[i].UID), translated(&list.Items[i]))
			}
		}
	}
	return true
}

// register makes a pod one that is watched.
func (s *Scene) register(p Pod, uid string, translated []string) {
	p.UID = uid
	if p.Kind == kindEither {
		p.Functions = translated
	}
	delete(s.unsure, p.Name)
	s.pods[uid] = p
	s.report.Pods[p.Kind]++
}

// violated tells of a broken promise, once.
func (s *Scene) violated(invariant, text string) {
	key, _, _ := strings.Cut(invariant+": "+text, ", at ") // the same again a moment later
	if s.known[key] {
		return
	}
	s.known[key] = true
	v := Violation{Step: s.step, Invariant: invariant, Text: text, At: time.Since(s.began)}
	s.report.Violations = append(s.report.Violations, v)
	s.say("VIOLATION at step %d of %s: %s", s.step, invariant, text)
	if s.until != nil && s.until(v) {
		s.until = nil
		close(s.enough)
	}
}

// begin notes that something begins to be out of order; end that it ends.
func begin(list *[]Span, what string) {
	*list = append(*list, Span{What: what, Begin: sinceBoot()})
}

func end(list []Span, what string) {
	for i := range list {
		if list[i].What == what && list[i].End == 0 {
			list[i].End = sinceBoot()
		}
	}
}

// readNamespace is the mount namespace of a process, "" of one that has ended.
func readNamespace(pid int) string {
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return ""
	}
	return ns
}
