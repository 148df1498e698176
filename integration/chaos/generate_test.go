package chaos

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheSeedDecidesEverything(t *testing.T) {
	p := Plan{Steps: 200}
	if d := cmp.Diff(Generate(7, p), Generate(7, p)); d != "" {
		t.Errorf("one seed, two lists:\n%s", d)
	}
	if cmp.Equal(Generate(7, p), Generate(8, p)) {
		t.Error("two seeds, one list")
	}
}

func TestStepsReadBackAsTheyWereWritten(t *testing.T) {
	steps := Generate(3, Plan{Steps: 300})
	got, err := ParseSteps("# of a run\n\n" + Text(steps) + "0s settle # the last one\n")
	if err != nil {
		t.Fatal(err)
	}
	want := append(slices.Clone(steps), Step{Action: settle})
	if d := cmp.Diff(Text(want), Text(got)); d != "" {
		t.Error(d)
	}
}

func TestWhatIsNoStepIsNamedWithItsLine(t *testing.T) {
	for text, want := range map[string]string{
		"0s settle\nsoon settle":     `line 2: "soon"`,
		"-1s settle":                 "want how long",
		"0s":                         "nothing to do",
		"0s explode kubelet":         `"explode" is no action`,
		"0s kill":                    "kill: want 1 arguments",
		"0s kill kubelet and etcd":   "kill: want 1 arguments",
		"0s create p1 region nlb3 x": "create: want 3 arguments",
	} {
		if _, err := ParseSteps(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

// steps of a run long enough for everything to be drawn.
func long() []Step { return Generate(11, Plan{Steps: 3000}) }

func TestEveryKindOfStepIsDrawn(t *testing.T) {
	drawn := map[string]bool{}
	for _, s := range long() {
		drawn[s.Action] = true
		for _, a := range s.Args {
			drawn[a] = true
		}
	}
	want := []string{programHook, programRuntime, kindRegion, kindJob, kindPair, kindEither, kindPlain, kindStranger, kindForger, kindStatic, "gone", "ahead", "behind", either, allDevices}
	for action := range syntax {
		want = append(want, action)
	}
	for _, list := range [][]string{inlays, components, folders(), faultNames(), bitstreamStates(), Devices(), functionNames()} {
		want = append(want, list...)
	}
	for _, w := range want {
		if !drawn[w] {
			t.Errorf("%q is never drawn", w)
		}
	}
}

// The 60 steps of seed 1 are what the integration tests do with every change: they leave none of this to chance.
func TestTheStepsOfEveryChangeBreakEverything(t *testing.T) {
	text := Text(Generate(1, Plan{Steps: 60, Cover: true}))
	for _, want := range []string{
		" kill inlay-deviceplugin\n", " kill inlay-nri\n", " kill inlay-webhook\n", " kill inlay-hook\n",
		" freeze inlay-deviceplugin\n", " freeze inlay-nri\n", " freeze inlay-webhook\n", " freeze inlay-hook\n",
		" kill kubelet\n", " kill runtime\n", " kill kube-apiserver\n", " freeze kubelet\n", " freeze runtime\n", " freeze kube-apiserver\n",
		" nri-socket gone\n", " fill run\n", " fill state\n", " half\n", " torn\n", " dead\n", " removed\n", " heal ", " clock ",
		" restart\n", " upgrade\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no step%s", strings.TrimRight(want, "\n"))
		}
	}
}

func TestWhatIsBrokenIsMendedBeforeItIsBrokenAgain(t *testing.T) {
	mends := map[string]string{
		"start": "kill", "thaw": "freeze", "empty": "fill", "heal": "fault", "map": "unmap",
	}
	broken := map[string]bool{}
	for n, s := range long() {
		if s.Action == settle {
			clear(broken)
			continue
		}
		if len(s.Args) == 0 {
			continue
		}
		subject := s.Args[0]
		if what, mending := mends[s.Action]; mending {
			if !broken[what+" "+subject] {
				t.Fatalf("step %d: %s: it is well", n, s)
			}
			delete(broken, what+" "+subject)
			continue
		}
		breaking := s.Action == "freeze" || s.Action == "fill" || s.Action == "fault" || s.Action == "unmap" ||
			s.Action == "kill" && slices.Contains(components, subject)
		if !breaking {
			continue
		}
		if broken[s.Action+" "+subject] {
			t.Fatalf("step %d: %s: it is broken already", n, s)
		}
		broken[s.Action+" "+subject] = true
	}
}

func TestSettlesComeWhenTheyShouldAndLast(t *testing.T) {
	steps := Generate(5, Plan{Steps: 40, SettleEvery: 10})
	var at []int
	for i, s := range steps {
		if s.Action == settle {
			at = append(at, i)
		}
	}
	if d := cmp.Diff([]int{10, 21, 32, 43}, at); d != "" {
		t.Error(d)
	}
}

// A name is given once: the kubelet knows pods of one name apart, but its podresources API does not say which is meant.
func TestNoNameOfAPodIsUsedTwice(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range long() {
		if s.Action != "create" {
			continue
		}
		if seen[s.Args[0]] {
			t.Fatalf("%s again", s.Args[0])
		}
		seen[s.Args[0]] = true
	}
}
