package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Seen is what was seen of a node at one moment, and what is known of it. Invariants are functions of it.
type Seen struct {
	At         time.Duration // since boot
	Containers []Container   // whose program runs
	Pods       map[string]Pod
	Cards      Cards
	// Holders are the devices of pods, by "namespace/name", as the kubelet tells; nil while it does not answer.
	Holders map[string][]string
	// Readings are what the containers have said since the last look.
	Readings []Reading
	// Began are the containers of each pod that ever ran, and when they did.
	Began map[string]map[string]time.Duration
	// Faulty are the times at which a device was made to misbehave.
	Faulty []Span
	// Interrupted are the times at which kubelet or runtime were away.
	Interrupted []Span
	// Withdrawn is since when the node's policy has no mapping of a function for the team's namespace.
	Withdrawn map[string]time.Duration
	// Refused are pods that the API server has refused, with its words.
	Refused map[string]string
}

// Span is a time with a subject; End is 0 while it lasts.
type Span struct {
	What       string
	Begin, End time.Duration
}

// around says whether t is in the span or no further than slack from it.
func (s Span) around(t, slack time.Duration) bool {
	return t >= s.Begin-slack && (s.End == 0 || t <= s.End+slack)
}

// Container is a container whose program runs, as the kernel shows it.
type Container struct {
	ID, PodUID string
	Sandbox    bool // the pod's own: it has nothing, whatever the pod asked for
	Pid        int
	Since      time.Duration // since boot
	Nodes      []string      // names of the cards' nodes in its /dev, sorted
	Rules      []string      // its device cgroup's rules for the cards' numbers, each as the name of the node, or as it is
	// Record are the devices of its allocation record, sorted; RecordErr says why that is not known.
	Record    []string
	RecordErr error
}

// Cards are the devices with their ports.
type Cards map[string][]string

// device is whose port it is.
func (c Cards) device(port string) string {
	for device, ports := range c {
		if slices.Contains(ports, port) {
			return device
		}
	}
	return ""
}

// podOf is whose container it is; the pod of a container that may have nothing has asked for nothing.
func (s *Seen) podOf(c Container) (Pod, bool) {
	p, ok := s.Pods[c.PodUID]
	if c.Sandbox {
		p.Functions = nil
	}
	return p, ok
}

func (s *Seen) named(name string) (Pod, bool) {
	for _, p := range s.Pods {
		if p.Name == name {
			return p, true
		}
	}
	return Pod{}, false
}

// Invariant is one promise: what it says of what was seen is broken promises.
type Invariant struct {
	Name  string
	Check func(*Seen) []string
}

// Always are the promises that hold at any moment.
func Always() []Invariant {
	return []Invariant{
		{"only-what-was-granted", onlyWhatWasGranted},
		{"right-function", rightFunction},
		{"one-port-one-container", onePortOneContainer},
		{"nothing-disturbed", nothingDisturbed},
		{"nobody-let-in", nobodyLetIn},
	}
}

// grantLimit is how long after a mapping's end a container may begin that was granted before: the hook's own limit,
// and time to be started.
const grantLimit = 70 * time.Second

// onlyWhatWasGranted holds what each container has against its record, the record against the kubelet's books, and all
// of it against the mappings.
func onlyWhatWasGranted(s *Seen) []string {
	var broken []string
	for _, c := range s.Containers {
		p, ours := s.podOf(c)
		say := func(format string, args ...any) {
			who := "pod " + p.Namespace + "/" + p.Name
			if !ours {
				who = "a pod of the system, " + c.PodUID
			}
			broken = append(broken, fmt.Sprintf("%s, container %.12s: ", who, c.ID)+fmt.Sprintf(format, args...))
		}
		if len(c.Nodes) == 0 && len(c.Rules) == 0 && len(p.Functions) == 0 {
			continue
		}
		if !slices.Equal(c.Nodes, c.Rules) {
			say("nodes %q, but its cgroup allows %q", c.Nodes, c.Rules)
		}
		if len(c.Nodes) != len(p.Functions) {
			say("it asked for %d functions and has %q", len(p.Functions), c.Nodes)
		}
		if len(c.Nodes) == 0 {
			continue
		}
		if c.RecordErr != nil {
			say("it has %q without an allocation record: %v", c.Nodes, c.RecordErr)
			continue
		}
		var devices []string
		for _, n := range c.Nodes {
			devices = append(devices, s.Cards.device(n))
		}
		slices.Sort(devices)
		if !slices.Equal(devices, c.Record) {
			say("nodes %q are of %q, its allocation record has %q", c.Nodes, devices, c.Record)
		}
		if held, listed := s.Holders[p.Namespace+"/"+p.Name]; listed && !slices.Equal(held, c.Record) {
			say("its allocation record has %q, the kubelet says %q", c.Record, held)
		}
		if p.mustNot() {
			say("its namespace has no mapping, and it has %q", c.Nodes)
		}
		for _, f := range p.Functions {
			if since, gone := s.Withdrawn[f]; gone && c.Since > since+grantLimit {
				say("function %s has had no mapping since %v, it began at %v", f, since, c.Since)
			}
		}
	}
	return broken
}

// onePortOneContainer looks for nodes that two containers have.
func onePortOneContainer(s *Seen) []string {
	var broken []string
	owner := map[string]Container{}
	for _, c := range s.Containers {
		for _, n := range c.Nodes {
			if other, taken := owner[n]; taken {
				broken = append(broken, fmt.Sprintf("%s is in two containers: %.12s of %s and %.12s of %s", n, other.ID, s.Pods[other.PodUID].Name, c.ID, s.Pods[c.PodUID].Name))
			}
			owner[n] = c
		}
	}
	return broken
}

const (
	allOnes = "ffffffffffffffffffffffffffffffff"
	// readSlack is how much later than a card's fault a reading may still tell of it: a line is written after its readings,
	// on a machine that is busy seconds after. Only readings that are errors are excused by it, another function never is.
	readSlack = 10 * time.Second
)

// rightFunction holds what containers read against what their pods asked for. A card that is made to misbehave may
// read as nothing; as another function it may not read even then.
func rightFunction(s *Seen) []string {
	var broken []string
	for _, r := range s.Readings {
		p, known := s.named(r.Pod)
		if !known {
			continue // being created: the lines are read again, see Scene.look
		}
		var ids []string
		ill := false
		for port, id := range r.Ports {
			if strings.HasPrefix(id, "!") || id == allOnes {
				device := s.Cards.device(port)
				if slices.ContainsFunc(s.Faulty, func(f Span) bool { return f.What == device && f.around(r.At, readSlack) }) {
					ill = true
					continue
				}
			}
			ids = append(ids, id)
		}
		slices.Sort(ids)
		want := slices.Sorted(slices.Values(p.Functions))
		if ill {
			// Of those that could be read none may be another.
			want = slices.DeleteFunc(want, func(id string) bool { return !slices.Contains(ids, id) })
		}
		if !slices.Equal(ids, want) {
			broken = append(broken, fmt.Sprintf("pod %s (%s), %s: asked for %q and reads %q, at %.2f s", p.Name, p.Kind, r.Container, p.Functions, r.Ports, r.At.Seconds()))
		}
	}
	return broken
}

// startSlack is how near a container's start to an interruption of kubelet or runtime may have been for it to be
// started again: they may not know then that it ran.
const startSlack = 15 * time.Second

// nothingDisturbed looks for pods whose container did not stay.
func nothingDisturbed(s *Seen) []string {
	var broken []string
	for _, p := range s.Pods {
		began := s.Began[p.Name]
		if !p.stays() || len(began) < 2 {
			continue
		}
		times := slices.Sorted(maps.Values(began))
		for _, t := range times[:len(times)-1] {
			if !slices.ContainsFunc(s.Interrupted, func(i Span) bool { return i.around(t, startSlack) }) {
				broken = append(broken, fmt.Sprintf("pod %s (%s): its container of %.2f s did not stay; containers began at %v", p.Name, p.Kind, t.Seconds(), times))
				break
			}
		}
	}
	for name, why := range s.Refused {
		if p, ok := s.named(name); ok && p.Kind == kindPlain && strings.Contains(why, "webhook") {
			broken = append(broken, fmt.Sprintf("pod %s asks for nothing and was refused: %s", name, why))
		}
	}
	slices.Sort(broken)
	return broken
}

// nobodyLetIn looks for pods without a right to an FPGA that were created, or run.
func nobodyLetIn(s *Seen) []string {
	var broken []string
	for _, p := range s.Pods {
		if !p.mustNot() {
			continue
		}
		if _, refused := s.Refused[p.Name]; !refused && p.Kind != kindStatic {
			broken = append(broken, fmt.Sprintf("pod %s/%s (%s) was created", p.Namespace, p.Name, p.Kind))
		}
		if len(s.Began[p.Name]) > 0 {
			broken = append(broken, fmt.Sprintf("pod %s/%s (%s) runs", p.Namespace, p.Name, p.Kind))
		}
	}
	slices.Sort(broken)
	return broken
}

// Settled is what is seen when all is well again, or should be.
type Settled struct {
	Devices     []string // that the kubelet offers
	Allocatable int64    // of the Node's status
	Cards       Cards
	Pods        []State
	// Mapped and Granted are the functions of the team's mappings, by the API server and by the node's policy file.
	Mapped, Granted []string
	NotReady        []string // pods of Inlay's that are not ready, or not of the version that is wanted
}

// State is one pod's, as the API server has it.
type State struct {
	Pod
	Phase, Reason string
	Ready         bool
	Scheduled     bool
}

// waits says whether the pod could run, and does not.
func (s State) waits() bool { return s.mayRun() && !s.Ready && s.Phase != "Succeeded" }

// AtRest are the promises of a cluster that has had time.
func AtRest() []struct {
	Name  string
	Check func(Settled) []string
} {
	return []struct {
		Name  string
		Check func(Settled) []string
	}{
		{"nothing-lost", nothingLost},
		{"everything-runs", everythingRuns},
	}
}

// nothingLost holds what the Node offers against its cards.
func nothingLost(s Settled) []string {
	var broken []string
	if want := slices.Sorted(maps.Keys(s.Cards)); !slices.Equal(s.Devices, want) {
		broken = append(broken, fmt.Sprintf("the kubelet offers %q, there are %q", s.Devices, want))
	}
	if want := int64(len(s.Cards)); s.Allocatable != want {
		broken = append(broken, fmt.Sprintf("allocatable is %d, there are %d cards", s.Allocatable, want))
	}
	if !slices.Equal(s.Mapped, s.Granted) {
		broken = append(broken, fmt.Sprintf("the mappings lead to %q, the node's policy grants %q", s.Mapped, s.Granted))
	}
	return broken
}

// everythingRuns looks for pods that wait though there is room for them.
func everythingRuns(s Settled) []string {
	var broken []string
	for _, p := range s.NotReady {
		broken = append(broken, "not ready: "+p)
	}
	taken := 0
	for _, p := range s.Pods {
		if p.mayRun() && p.Phase != "Succeeded" && p.Phase != "Failed" && p.Scheduled {
			taken += len(p.Functions)
		}
	}
	for _, p := range s.Pods {
		if !p.waits() {
			continue
		}
		if need := len(p.Functions); !p.Scheduled && need > 0 && taken+need > len(s.Cards) {
			continue // others have what it asks for
		}
		broken = append(broken, fmt.Sprintf("pod %s (%s) is %s: %s", p.Name, p.Kind, p.Phase, p.Reason))
	}
	return broken
}
