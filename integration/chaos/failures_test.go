package chaos

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The kubelet's words, of real runs and of its code.
const (
	noneHealthy = "Pod was rejected: Allocate failed due to no healthy devices present; cannot allocate unhealthy devices " +
		"fpga.intel.com/region-69528db6eb31577a8c3668f9faa081f6, which is unexpected"
	noneLeft = "Pod was rejected: Allocate failed due to requested number of devices unavailable for " +
		"fpga.intel.com/region-69528db6eb31577a8c3668f9faa081f6. Requested: 1, Available: 0, which is unexpected"
	noLonger = "Pod was rejected: Allocate failed due to previously allocated devices are no longer healthy; cannot allocate unhealthy devices " +
		"fpga.intel.com/region-69528db6eb31577a8c3668f9faa081f6, which is unexpected"
	pluginEnded = "Pod was rejected: Allocate failed due to rpc error: code = Unavailable desc = error reading from server: EOF, which is unexpected"
	unasked     = "Pod was rejected: Allocate failed due to device plugin GetPreferredAllocation rpc failed with err: " +
		"rpc error: code = Unavailable desc = error reading from server: EOF, which is unexpected"
	unhealthy = "Pod was rejected: Allocate failed due to rpc error: code = FailedPrecondition desc = " +
		"fpga.intel.com/region-69528db6eb31577a8c3668f9faa081f6: device dfl-fme.0 is unhealthy: no answer, which is unexpected"
	isGone = "Pod was rejected: Allocate failed due to rpc error: code = InvalidArgument desc = " +
		`fpga.intel.com/region-69528db6eb31577a8c3668f9faa081f6: device "dfl-fme.0" is not there (any more), which is unexpected`
	refusedByUs = "Pod was rejected: Allocate failed due to rpc error: code = FailedPrecondition desc = " +
		"fpga.intel.com/region-69528db6eb31577a8c3668f9faa081f6: device dfl-fme.0: refused by the test, which is unexpected"
)

func TestAPodIsTurnedAwayOnlyForWhatWasBroken(t *testing.T) {
	const (
		admission = "UnexpectedAdmissionError"
		s         = time.Second
		at        = 100 * s
	)
	cards := Cards{"dfl-fme.0": {"dfl-port.0"}, "dfl-fme.1": {"dfl-port.1"}}
	during := func(what ...string) []Span {
		var spans []Span
		for _, w := range what {
			spans = append(spans, Span{What: w, Begin: at - 5*s, End: at + 5*s})
		}
		return spans
	}
	away, static, oneIll := Trouble{Away: during(awayPlugin)}, Trouble{Static: during("p3")}, Trouble{Faulty: during("dfl-fme.0")}
	allIll := Trouble{Faulty: during("dfl-fme.0", "dfl-fme.1")}
	const unexplained, unlisted = "nothing was broken that explains it", "no pod may fail with these words"
	for name, c := range map[string]struct {
		trouble         Trouble
		reason, message string
		want            string // "" = it is excused
	}{
		"the plugin is away":                             {away, admission, noneHealthy, ""},
		"the plugin is away, since now":                  {Trouble{Away: []Span{{Begin: at}}}, admission, noneHealthy, ""},
		"the plugin goes away later":                     {Trouble{Away: []Span{{Begin: at + 3*s}}}, admission, noneHealthy, unexplained},
		"the plugin was away, and all was well":          {Trouble{Away: []Span{{Begin: at - 9*s, End: at - 3*s}}}, admission, noneHealthy, unexplained},
		"none is healthy, and nothing broken":            {Trouble{}, admission, noneHealthy, unexplained},
		"none is healthy, and one of two cards ill":      {oneIll, admission, noneHealthy, unexplained},
		"none is healthy, and all cards ill":             {allIll, admission, noneHealthy, ""},
		"none is healthy, with a static pod":             {static, admission, noneHealthy, unexplained},
		"a static pod has the card":                      {static, admission, noneLeft, ""},
		"a static pod had the card until just now":       {Trouble{Static: []Span{{Begin: at - 9*s, End: at - 8*s}}}, admission, noneLeft, ""},
		"a static pod had the card long ago":             {Trouble{Static: []Span{{Begin: at - 90*s, End: at - 80*s}}}, admission, noneLeft, unexplained},
		"too few, and the plugin was away":               {away, admission, noneLeft, ""},
		"too few, and a card ill":                        {oneIll, admission, noneLeft, ""},
		"too few, and nothing broken":                    {Trouble{}, admission, noneLeft, unexplained},
		"taken before the kubelet ended":                 {away, admission, noLonger, ""},
		"no longer healthy, and nothing broken":          {static, admission, noLonger, unexplained},
		"the plugin ended in the middle":                 {away, admission, pluginEnded, ""},
		"the plugin ended before, while it was asked":    {away, admission, unasked, ""},
		"the plugin ended by itself":                     {oneIll, admission, pluginEnded, unexplained},
		"the plugin knew of the illness first":           {oneIll, admission, unhealthy, ""},
		"the plugin says ill, and no card is":            {away, admission, unhealthy, unexplained},
		"the plugin knew of the end first":               {oneIll, admission, isGone, ""},
		"the plugin says gone, and no card is":           {static, admission, isGone, unexplained},
		"the plugin refuses, and nothing broken":         {Trouble{}, admission, refusedByUs, unlisted},
		"the plugin refuses, whatever is broken":         {Trouble{Away: away.Away, Static: static.Static, Faulty: allIll.Faulty}, admission, refusedByUs, unlisted},
		"another reason, whatever is broken":             {away, "OutOfcpu", noneHealthy, "no pod may fail for another reason"},
		"no reason":                                      {away, "", "", "no pod may fail for another reason"},
		"more than the kubelet says":                     {away, admission, noneHealthy + "; and more", unlisted},
		"the words somewhere in a refusal of the plugin": {away, admission, strings.Replace(refusedByUs, "refused by the test", noneHealthy, 1), unlisted},
	} {
		c.trouble.Cards = cards
		got := c.trouble.unexcused(Failure{Reason: c.reason, Message: c.message, At: at})
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestWhatTakesThePluginFromTheKubelet(t *testing.T) {
	for line, want := range map[string]bool{
		"0s kill kubelet": true, "0s freeze kubelet": true, "0s kill inlay-deviceplugin": true, "0s freeze inlay-deviceplugin": true,
		"0s restart": true, "0s upgrade": true,
		"0s kill inlay-nri": false, "0s kill runtime": false, "0s freeze etcd": false, "0s start kubelet": false, "0s settle": false,
		"0s create p1 static fir": false, "0s fault all dead": false,
	} {
		steps, err := ParseSteps(line)
		if err != nil {
			t.Fatal(err)
		}
		if got := unregisters(steps[0]); got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
}

func TestAFailureIsOfTheMomentThatItsPodHas(t *testing.T) {
	pod := &corev1.Pod{Status: corev1.PodStatus{Reason: "r", Message: "m"}}
	now := sinceBoot()
	if f := failureOf(pod); f.Reason != "r" || f.Message != "m" || f.At < now || f.At > sinceBoot() {
		t.Errorf("without a time: %+v, now is %v", f, now)
	}
	pod.Status.StartTime = &metav1.Time{Time: time.Now().Add(-time.Minute)}
	if f := failureOf(pod); (f.At - now + time.Minute).Abs() > time.Second {
		t.Errorf("a minute ago: %+v, now is %v", f, now)
	}
}

// Words are counted, so what differs from pod to pod is not in them; and a violation is one of the promise with its name.
func TestFailuresAreCountedByTheirWordsAndJudged(t *testing.T) {
	var log strings.Builder
	s := &Scene{log: &log, began: time.Now(), cards: Cards{"dfl-fme.0": {"dfl-port.0"}}, known: map[string]bool{}, report: newReport()}
	fail := func(kind, message string) {
		s.failed(Pod{Name: "p1", Kind: kind}, Failure{Reason: "UnexpectedAdmissionError", Message: message, At: sinceBoot()})
	}
	begin(&s.away, awayPlugin)
	fail(kindJob, noneHealthy)
	fail(kindJob, strings.Replace(noneHealthy, "69528d", "000000", 1))
	fail(kindJob, strings.Replace(noneLeft, "Requested: 1", "Requested: 2", 1))
	fail(kindJob, noneLeft)
	if len(s.report.Violations) != 0 {
		t.Errorf("excused, and it says %v", s.report.Violations)
	}
	var table strings.Builder
	s.report.Write(&table)
	for _, row := range []string{
		"| pods that the kubelet turned away for good and that were made anew | 4 |",
		"| UnexpectedAdmissionError: Allocate failed due to no healthy devices present; cannot allocate unhealthy devices fpga.intel.com/region-…, which is unexpected | 2 |",
		"| UnexpectedAdmissionError: Allocate failed due to requested number of devices unavailable for fpga.intel.com/region-…. Requested: N, Available: N, which is unexpected | 2 |",
	} {
		if !strings.Contains(table.String(), row+"\n") {
			t.Errorf("the table lacks %s:\n%s", row, table.String())
		}
	}
	fail(kindJob, refusedByUs)
	fail(kindPlain, noneHealthy)
	var got []string
	for _, v := range s.report.Violations {
		got = append(got, v.Invariant)
	}
	if strings.Join(got, " ") != "nobody-turned-away nothing-disturbed" {
		t.Errorf("violations %v", s.report.Violations)
	}
}
