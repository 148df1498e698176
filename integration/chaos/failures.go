package chaos

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Failure is a pod that the kubelet has given up for good.
type Failure struct {
	Reason, Message string
	At              time.Duration // since boot
}

// failureOf reads a failed pod's status. The kubelet sets the start time of a pod that it turns away to that moment; a
// pod without one is taken to have failed now.
func failureOf(pod *corev1.Pod) Failure {
	f := Failure{Reason: pod.Status.Reason, Message: pod.Status.Message, At: sinceBoot()}
	if began := pod.Status.StartTime; began != nil {
		f.At -= time.Since(began.Time)
	}
	return f
}

// words are the failure's reason and message without what differs from pod to pod.
func (f Failure) words() string {
	text := strings.TrimPrefix(f.Message, "Pod was rejected: ")
	for _, r := range []struct{ what, with string }{
		{`\b[0-9a-f]{32}\b`, "…"},
		{`\b[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\b`, "…"}, // a PCI address
		{`[0-9]+`, "N"},
	} {
		text = regexp.MustCompile(r.what).ReplaceAllString(text, r.with)
	}
	return f.Reason + ": " + text
}

// Trouble is what was broken, and when, of all that a kubelet turns pods away for.
type Trouble struct {
	Cards Cards
	// Away are the times from a step that takes the device plugin from the kubelet (see unregisters) until a settle has
	// found all well.
	Away []Span
	// Static are the times of pods that only the kubelet knows. They hold a card that the scheduler gives to others.
	Static []Span
	// Faulty are the times of cards that were made to misbehave.
	Faulty []Span
}

// awayPlugin is the subject of Away's spans.
const awayPlugin = "device plugin"

// unregisters says whether a step takes the device plugin from the kubelet: then no device is healthy to it until the
// plugin has registered again.
func unregisters(s Step) bool {
	switch s.Action {
	case "restart", "upgrade":
		return true
	case "kill", "freeze":
		return s.Args[0] == programKubelet || s.Args[0] == programPlugin
	}
	return false
}

const (
	// learnsWithin is how long the kubelet may take to learn that a static pod is gone or a card is well again, on a machine
	// that is busy.
	learnsWithin = 45 * time.Second
	// wholeSecond is what the time in a pod's status may be too early.
	wholeSecond = time.Second
)

// excuse is a message that a pod may be turned away with, and what must have been broken for it.
type excuse struct {
	pattern string // of the words
	broken  func(Trouble, time.Duration) bool
}

// excuses is the list; doc.go explains it. The first four are the kubelet's own words (pkg/kubelet/cm/devicemanager),
// the last one is inlay-deviceplugin's.
func excuses() []excuse {
	oneOf := func(all ...func(Trouble, time.Duration) bool) func(Trouble, time.Duration) bool {
		return func(t Trouble, at time.Duration) bool {
			return slices.ContainsFunc(all, func(is func(Trouble, time.Duration) bool) bool { return is(t, at) })
		}
	}
	return []excuse{
		{`no healthy devices present; cannot allocate unhealthy devices \S+`, oneOf(Trouble.pluginAway, Trouble.allFaulty)},
		{`requested number of devices unavailable for \S+ Requested: N, Available: N`, oneOf(Trouble.pluginAway, Trouble.staticPod, Trouble.oneFaulty)},
		{`previously allocated devices are no longer healthy; cannot allocate unhealthy devices \S+`, oneOf(Trouble.pluginAway, Trouble.oneFaulty)},
		{`(device plugin GetPreferredAllocation rpc failed with err: )?rpc error: code = Unavailable desc = .*`, Trouble.pluginAway},
		{`rpc error: code = (InvalidArgument|FailedPrecondition) desc = \S+: device .* is (unhealthy|not there).*`, Trouble.oneFaulty},
	}
}

func (t Trouble) pluginAway(at time.Duration) bool { return during(t.Away, at, 0) }

func (t Trouble) staticPod(at time.Duration) bool { return during(t.Static, at, learnsWithin) }

func (t Trouble) oneFaulty(at time.Duration) bool { return during(t.Faulty, at, learnsWithin) }

func (t Trouble) allFaulty(at time.Duration) bool {
	for card := range t.Cards {
		own := slices.DeleteFunc(slices.Clone(t.Faulty), func(s Span) bool { return s.What != card })
		if !during(own, at, learnsWithin) {
			return false
		}
	}
	return len(t.Cards) > 0
}

// during says whether one of the spans had begun, and had not ended longer ago than after.
func during(spans []Span, at, after time.Duration) bool {
	return slices.ContainsFunc(spans, func(s Span) bool {
		return at+wholeSecond >= s.Begin && (s.End == 0 || at <= s.End+after)
	})
}

// unexcused says why a pod should not have failed so, "" if what was broken explains it.
func (t Trouble) unexcused(f Failure) string {
	const reason = "UnexpectedAdmissionError"
	if f.Reason != reason {
		return fmt.Sprintf("no pod may fail for another reason than %s", reason)
	}
	for _, e := range excuses() {
		if !regexp.MustCompile("^" + reason + ": Allocate failed due to " + e.pattern + ", which is unexpected$").MatchString(f.words()) {
			continue
		}
		if e.broken(t, f.At) {
			return ""
		}
		return "nothing was broken that explains it"
	}
	return "no pod may fail with these words"
}
