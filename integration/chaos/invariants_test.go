package chaos

import (
	"strings"
	"testing"
	"time"

	"github.com/inlay-project/inlay/integration"
)

const (
	nlb0 = integration.NLB0
	nlb3 = integration.NLB3
)

// well is a node on which all promises are kept: a pod with one function, one with two, a plain one, and one that was
// refused, some moments ago.
func well() *Seen {
	at := 100 * time.Second
	return &Seen{
		At:    at,
		Cards: Cards{"dfl-fme.0": {"dfl-port.0", "dfl-port.1"}, "dfl-fme.1": {"dfl-port.2"}, "intel-fpga-fme.0": {"intel-fpga-port.0"}},
		Pods: map[string]Pod{
			"u1": {Name: "one", Namespace: team, UID: "u1", Kind: kindRegion, Functions: []string{nlb3}},
			"u2": {Name: "two", Namespace: team, UID: "u2", Kind: kindPair, Functions: []string{nlb0, nlb3}},
			"u3": {Name: "plain", Namespace: team, UID: "u3", Kind: kindPlain},
			"u4": {Name: "static", Namespace: strangers, UID: "u4", Kind: kindStatic, Functions: []string{nlb0}},
		},
		Containers: []Container{
			{ID: "c1", PodUID: "u1", Since: at, Nodes: []string{"dfl-port.1"}, Rules: []string{"dfl-port.1"}, Record: []string{"dfl-fme.0"}},
			{ID: "s1", PodUID: "u1", Sandbox: true, Since: at},
			{
				ID: "c2", PodUID: "u2", Since: at, Nodes: []string{"dfl-port.2", "intel-fpga-port.0"},
				Rules: []string{"dfl-port.2", "intel-fpga-port.0"}, Record: []string{"dfl-fme.1", "intel-fpga-fme.0"},
			},
			{ID: "c3", PodUID: "u3", Since: at, RecordErr: errNoAnswer},
			{ID: "c9", PodUID: "of the system", Since: at, RecordErr: errNoAnswer},
		},
		Holders: map[string][]string{"team-a/one": {"dfl-fme.0"}, "team-a/two": {"dfl-fme.1", "intel-fpga-fme.0"}, "strangers/static": {"dfl-fme.3"}},
		Readings: []Reading{
			{Pod: "one", Container: "one.a", At: at, Ports: map[string]string{"dfl-port.1": nlb3}},
			{Pod: "two", Container: "two.a", At: at, Ports: map[string]string{"dfl-port.2": nlb3, "intel-fpga-port.0": nlb0}},
			{Pod: "plain", Container: "plain.a", At: at, Ports: map[string]string{}},
		},
		Began:     map[string]map[string]time.Duration{"one": {"one.a": at}, "two": {"two.a": at}, "plain": {"plain.a": at}},
		Withdrawn: map[string]time.Duration{},
		Refused:   map[string]string{},
	}
}

// broken are the promises that are said to be broken, with what is said.
func broken(s *Seen) map[string]string {
	all := map[string]string{}
	for _, i := range Always() {
		if texts := i.Check(s); len(texts) > 0 {
			all[i.Name] = strings.Join(texts, "\n")
		}
	}
	return all
}

func TestANodeThatIsWellBreaksNoPromise(t *testing.T) {
	for name, text := range broken(well()) {
		t.Errorf("%s: %s", name, text)
	}
}

// Each is one thing that must not be seen, with the promise that it breaks and no other.
func TestEveryBrokenPromiseIsSeen(t *testing.T) {
	at := well().At
	for name, c := range map[string]struct {
		change    func(*Seen)
		invariant string
		says      string
	}{
		"a port that was not granted": {func(s *Seen) {
			s.Containers[0].Nodes, s.Containers[0].Rules = []string{"dfl-port.0", "dfl-port.1"}, []string{"dfl-port.0", "dfl-port.1"}
		}, "only-what-was-granted", "asked for 1 functions"},
		"a port of another card": {func(s *Seen) {
			s.Cards["dfl-fme.7"] = []string{"dfl-port.7"}
			s.Containers[0].Nodes, s.Containers[0].Rules = []string{"dfl-port.7"}, []string{"dfl-port.7"}
		}, "only-what-was-granted", `its allocation record has ["dfl-fme.0"]`},
		"the FME in the place of a port": {func(s *Seen) {
			s.Containers[0].Nodes, s.Containers[0].Rules = []string{"dfl-fme.0"}, []string{"dfl-fme.0"}
		}, "only-what-was-granted", "dfl-fme.0"},
		"a node that the cgroup does not allow": {func(s *Seen) { s.Containers[0].Rules = nil }, "only-what-was-granted", "its cgroup allows []"},
		"a rule without a node":                 {func(s *Seen) { s.Containers[3].Rules = []string{"dfl-port.0"} }, "only-what-was-granted", "plain"},
		"everything allowed":                    {func(s *Seen) { s.Containers[3].Rules = []string{"a *:* rwm"} }, "only-what-was-granted", "rwm"},
		"a bare container": {func(s *Seen) {
			s.Containers[0].Nodes, s.Containers[0].Rules = nil, nil
		}, "only-what-was-granted", "asked for 1 functions and has []"},
		"a sandbox with a port": {func(s *Seen) {
			s.Containers[1].Nodes, s.Containers[1].Rules, s.Containers[1].Record = []string{"dfl-port.0"}, []string{"dfl-port.0"}, []string{"dfl-fme.0"}
		}, "only-what-was-granted", "asked for 0 functions"},
		"a pod of the system with a port": {func(s *Seen) {
			s.Containers[4].Nodes, s.Containers[4].Rules = []string{"dfl-port.0"}, []string{"dfl-port.0"}
		}, "only-what-was-granted", "a pod of the system"},
		"no record": {func(s *Seen) { s.Containers[0].RecordErr = errNoAnswer }, "only-what-was-granted", "without an allocation record"},
		"another record than the kubelet's": {
			func(s *Seen) { s.Holders["team-a/one"] = []string{"dfl-fme.1"} }, "only-what-was-granted",
			`the kubelet says ["dfl-fme.1"]`,
		},
		"a mapping that was withdrawn long ago": {func(s *Seen) {
			s.Withdrawn[nlb3] = at - grantLimit - time.Second
		}, "only-what-was-granted", "has had no mapping"},
		"the other function":                {func(s *Seen) { s.Readings[0].Ports["dfl-port.1"] = nlb0 }, "right-function", `pod one`},
		"one function twice":                {func(s *Seen) { s.Readings[1].Ports["dfl-port.2"] = nlb0 }, "right-function", `pod two`},
		"a function that a plain pod reads": {func(s *Seen) { s.Readings[2].Ports["dfl-port.0"] = nlb0 }, "right-function", "pod plain"},
		"no port to read":                   {func(s *Seen) { clear(s.Readings[0].Ports) }, "right-function", "reads map[]"},
		"a card that reads as nothing":      {func(s *Seen) { s.Readings[0].Ports["dfl-port.1"] = allOnes }, "right-function", "ffff"},
		"a port that cannot be read":        {func(s *Seen) { s.Readings[0].Ports["dfl-port.1"] = "!busy" }, "right-function", "!busy"},
		"another function from a card at fault": {func(s *Seen) {
			s.Readings[0].Ports["dfl-port.1"] = nlb0
			s.Faulty = []Span{{What: "dfl-fme.0", Begin: at}}
		}, "right-function", nlb0},
		"a port that cannot be read long after its card's fault": {func(s *Seen) {
			s.Readings[0].Ports["dfl-port.1"] = "!gone"
			s.Faulty = []Span{{What: "dfl-fme.0", Begin: at - 3*readSlack, End: at - 2*readSlack}, {What: "dfl-fme.1", Begin: at}}
		}, "right-function", "!gone"},
		"two containers with one port": {func(s *Seen) {
			s.Containers[0].Nodes, s.Containers[0].Rules, s.Containers[0].Record = []string{"dfl-port.2"}, []string{"dfl-port.2"}, []string{"dfl-fme.1"}
			s.Holders = nil
		}, "one-port-one-container", "dfl-port.2 is in two containers"},
		"a container that was started again": {func(s *Seen) { s.Began["one"]["one.b"] = at + time.Second }, "nothing-disturbed", "did not stay"},
		"a plain one, long after the kubelet": {func(s *Seen) {
			s.Began["plain"]["plain.b"] = at + time.Minute
			s.Interrupted = []Span{{What: "kubelet", Begin: at + 30*time.Second, End: at + 31*time.Second}}
		}, "nothing-disturbed", "plain"},
		"a plain pod that a webhook refused": {func(s *Seen) { s.Refused["plain"] = `failed calling webhook "fpga…"` }, "nothing-disturbed", "was refused"},
		"a stranger that was created": {func(s *Seen) {
			s.Pods["u5"] = Pod{Name: "stranger", Namespace: strangers, Kind: kindStranger, Functions: []string{nlb0}}
		}, "nobody-let-in", "was created"},
		"a static pod that runs": {func(s *Seen) { s.Began["static"] = map[string]time.Duration{"static.a": at} }, "nobody-let-in", "runs"},
	} {
		t.Run(name, func(t *testing.T) {
			s := well()
			c.change(s)
			got := broken(s)
			if !strings.Contains(got[c.invariant], c.says) || got[c.invariant] == "" {
				t.Errorf("%s says %q, want %q", c.invariant, got[c.invariant], c.says)
			}
			delete(got, c.invariant)
			for other, text := range got {
				t.Errorf("%s says it too: %s", other, text)
			}
		})
	}
}

func TestWhatMayBeIsNoBrokenPromise(t *testing.T) {
	at := well().At
	for name, change := range map[string]func(*Seen){
		"the kubelet does not answer": func(s *Seen) { s.Holders = nil },
		"a card at fault reads as nothing": func(s *Seen) {
			s.Readings[0].Ports["dfl-port.1"] = allOnes
			s.Faulty = []Span{{What: "dfl-fme.0", Begin: at}}
		},
		"the other card of two is at fault": func(s *Seen) {
			s.Readings[1].Ports["dfl-port.2"] = "!x"
			s.Faulty = []Span{{What: "dfl-fme.1", Begin: at}}
		},
		"a mapping that was withdrawn just now": func(s *Seen) { s.Withdrawn[nlb3] = at - time.Second },
		"a container that the kubelet did not know of": func(s *Seen) {
			s.Began["one"]["one.b"] = at + time.Minute
			s.Interrupted = []Span{{What: "kubelet", Begin: at}}
		},
		"a job that is tried again": func(s *Seen) {
			p := s.Pods["u1"]
			p.Kind = kindJob
			s.Pods["u1"] = p
			s.Began["one"]["one.b"] = at + time.Minute
		},
		"a plain pod that a dead API server has refused": func(s *Seen) { s.Refused["plain"] = "connection refused" },
	} {
		s := well()
		change(s)
		for invariant, text := range broken(s) {
			t.Errorf("%s: %s: %s", name, invariant, text)
		}
	}
}

func rested() Settled {
	cards := Cards{"dfl-fme.0": nil, "dfl-fme.1": nil}
	return Settled{
		Cards: cards, Devices: []string{"dfl-fme.0", "dfl-fme.1"}, Allocatable: 2, Mapped: []string{nlb0, nlb3}, Granted: []string{nlb0, nlb3},
		Pods: []State{
			{Pod: Pod{Name: "one", Kind: kindRegion, Functions: []string{nlb3}}, Phase: "Running", Ready: true, Scheduled: true},
			{Pod: Pod{Name: "done", Kind: kindJob, Functions: []string{nlb3}}, Phase: "Succeeded", Scheduled: true},
			{Pod: Pod{Name: "two", Kind: kindPair, Functions: []string{nlb0, nlb3}}, Phase: "Pending"}, // waits for two cards
			{Pod: Pod{Name: "plain", Kind: kindPlain}, Phase: "Running", Ready: true, Scheduled: true},
		},
	}
}

func TestAClusterAtRestBreaksNoPromise(t *testing.T) {
	for _, p := range AtRest() {
		if got := p.Check(rested()); len(got) > 0 {
			t.Errorf("%s: %q", p.Name, got)
		}
	}
}

func TestAClusterThatIsNotAtRestSaysWhy(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Settled)
		says   string
	}{
		"a device that did not come back": {func(s *Settled) { s.Devices = s.Devices[:1] }, "the kubelet offers"},
		"a Node that tells of one device": {func(s *Settled) { s.Allocatable = 1 }, "allocatable is 1"},
		"a policy that is behind":         {func(s *Settled) { s.Granted = nil }, "the node's policy grants []"},
		"a policy that is too generous":   {func(s *Settled) { s.Mapped = []string{nlb0} }, "the node's policy grants"},
		"a pod that waits with its card":  {func(s *Settled) { s.Pods[0].Ready = false }, "pod one"},
		"a pod that nobody schedules": {func(s *Settled) {
			s.Pods[0].Ready, s.Pods[0].Scheduled, s.Pods[0].Phase = false, false, "Pending"
			s.Pods = s.Pods[:1]
		}, "pod one"},
		"a pod that failed":              {func(s *Settled) { s.Pods[0].Ready, s.Pods[0].Phase, s.Pods = false, "Failed", s.Pods[:1] }, "pod one"},
		"a plain pod that does not run":  {func(s *Settled) { s.Pods[3].Ready = false }, "pod plain"},
		"a plain pod that nobody starts": {func(s *Settled) { s.Pods[3].Ready, s.Pods[3].Scheduled = false, false }, "pod plain"},
		"room for the one that waits":    {func(s *Settled) { s.Pods[0].Phase, s.Pods[0].Ready = "Succeeded", false }, "pod two"},
		"a daemon that is not ready":     {func(s *Settled) { s.NotReady = []string{"DaemonSet"} }, "not ready: DaemonSet"},
	} {
		s := rested()
		c.change(&s)
		var got []string
		for _, p := range AtRest() {
			got = append(got, p.Check(s)...)
		}
		if len(got) != 1 || !strings.Contains(got[0], c.says) {
			t.Errorf("%s: got %q, want %q", name, got, c.says)
		}
	}
}
