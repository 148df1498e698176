//go:build integration

package admission

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// A machine that is busy holds up whatever runs on it for a second and more. What is here tells that from what the
// webhook does.

// tries is how often withinASecond does a thing at most.
const tries = 3

// withinASecond does a thing again until each step of which it tells has taken a second at most, each in one of the tries.
// It is for the thing itself to wait for longer, and to fail where a step does not come to its end.
func withinASecond(t *testing.T, do func(took func(step string, d time.Duration))) {
	t.Helper()
	best := map[string]time.Duration{}
	for try := 1; ; try++ {
		do(func(step string, d time.Duration) {
			if b, known := best[step]; !known || d < b {
				best[step] = d
			}
		})
		var late []string
		for step, d := range best {
			if d > time.Second {
				late = append(late, fmt.Sprintf("%s: %v", step, d.Round(time.Millisecond)))
			}
		}
		slices.Sort(late)
		switch {
		case len(late) == 0:
			return
		case try == tries:
			t.Errorf("more than a second, the best of %d tries: %s", tries, strings.Join(late, "; "))
			return
		}
		t.Logf("try %d: more than a second: %s", try, strings.Join(late, "; "))
	}
}

// tooLate are the words of an error about an answer that did not come in time, the webhook's to the API server included.
// The address of the webhook has the word timeout in it.
var tooLate = regexp.MustCompile(`deadline exceeded|timed out| timeout|Timeout|too many requests`)

// insist does a request again as long as its answer comes too late; it may have been carried out all the same.
func insist(ctx context.Context, request func() error) (again int, err error) {
	ctx, cancel := context.WithTimeout(ctx, leaseLimit)
	defer cancel()
	for {
		err = request()
		if err == nil || ctx.Err() != nil || !tooLate.MatchString(err.Error()) {
			return again, err
		}
		again++
		time.Sleep(100 * time.Millisecond)
	}
}

// excuses counts refusals for which an API server is the reason that was asked for a mapping and did not answer in time.
type excuses struct {
	s *System
	n int
}

// askedAgain is a little more than the time for which a replica then asks no more; see againAfter in webhook/mappings.
const askedAgain = 1100 * time.Millisecond

// accept asks for a pod, and once more after a refusal that has an excuse.
func (e *excuses) accept(ask func() error) error {
	began := time.Now()
	err := ask()
	if err == nil || !e.s.unanswered(began.Add(-askedAgain)) && !tooLate.MatchString(err.Error()) {
		return err
	}
	e.n++
	time.Sleep(askedAgain)
	return ask()
}

// few fails a test of that many pods if most of them needed an excuse. A pod that is asked for again shows nothing: by
// then the watch has told of its mapping.
func (e *excuses) few(t *testing.T, pods int) {
	t.Helper()
	t.Logf("%d of %d refused because the API server did not answer a replica in time", e.n, pods)
	if e.n > pods/2 {
		t.Error("that is most of them")
	}
}

var logTime = regexp.MustCompile(`^time="([^"]+)"`)

// unanswered tells whether a replica has asked for a mapping since, and had no answer in time.
func (s *System) unanswered(since time.Time) bool {
	for _, r := range s.Running() {
		for line := range strings.Lines(r.Output()) {
			if !strings.Contains(line, "the API server was asked for a mapping that a pod seeks") || !tooLate.MatchString(line) {
				continue
			}
			if m := logTime.FindStringSubmatch(line); m != nil {
				if at, err := time.Parse(time.RFC3339, m[1]); err == nil && at.After(since) {
					return true
				}
			}
		}
	}
	return false
}
