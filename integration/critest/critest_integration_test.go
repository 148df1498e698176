//go:build integration

package critest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"

	"github.com/inlay-project/inlay/integration"
)

var (
	full   = flag.Bool("full", false, "run all specs, not the short selection")
	rounds = flag.Int("rounds", 2, "how often each of the two is run, with -full")
	output = flag.String("result", "", "file for the result as Markdown, with -full")
	only   = flag.String("runtime", "", "one runtime instead of both, with -full: containerd or crio")
)

var runtimes = []integration.RuntimeName{integration.Containerd, integration.CRIO}

// compare runs both kinds of run, every other round the other way round, so that what
// changes on the machine meanwhile is on both sides.
func compare(t *testing.T, r Run, rounds int) Result {
	t.Helper()
	result := Result{}
	for n := range rounds {
		var round Round
		r.Seed = int64(n + 1)
		one := func(inlay bool) {
			t.Helper()
			name, into := "without", &round.Without
			if inlay {
				name, into = "with", &round.With
			}
			r := r
			r.Inlay = inlay
			// A node ends with its subtest.
			t.Run(fmt.Sprintf("%d-%s", n+1, name), func(t *testing.T) {
				*into, result.Runtime = r.Do(t, supply.For(r.Runtime))
				t.Logf("%d of %d pass in %v", len(into.Passes()), len(into.Specs), into.Took.Round(100*time.Millisecond))
			})
			if into.Specs == nil {
				t.FailNow()
			}
		}
		one(n%2 == 1)
		one(n%2 == 0)
		result.Rounds = append(result.Rounds, round)
	}
	return result
}

func TestTheFocusListPassesWithAndWithoutInlay(t *testing.T) {
	if *full {
		t.Skip("all specs run")
	}
	for _, runtime := range runtimes {
		t.Run(string(runtime), func(t *testing.T) {
			result := compare(t, Run{Runtime: runtime, Focus: FocusList(), Skip: skipOn(runtime), Attempts: 2}, 1)
			result.Floor = FocusFloor(runtime)
			for _, wrong := range result.Wrong() {
				t.Error(wrong)
			}
			if n := len(result.Rounds[0].With.Specs); n != result.Floor {
				t.Errorf("%d specs were chosen, %d are recorded: see FocusFloor", n, result.Floor)
			}
		})
	}
}

func TestAllSpecsPassWithInlayAsWithout(t *testing.T) {
	if !*full {
		t.Skip("make critest runs all specs")
	}
	ran := false
	for _, runtime := range runtimes {
		if *only != "" && *only != string(runtime) {
			continue
		}
		ran = true
		t.Run(string(runtime), func(t *testing.T) {
			began := time.Now()
			result := compare(t, Run{Runtime: runtime, Skip: skipOn(runtime), Attempts: 2}, *rounds)
			result.Floor = Floor(runtime)
			for _, wrong := range result.Wrong() {
				t.Error(wrong)
			}
			result.Write(os.Stdout, began)
			if *output == "" {
				return
			}
			if err := result.WriteFile(*output, began); err != nil {
				t.Error(err)
			}
		})
	}
	if !ran {
		t.Fatalf("-runtime %s: no such runtime", *only)
	}
}

// breaking is an NRI plugin that refuses one of critest's containers.
type breaking struct{ prefix string }

func (b breaking) CreateContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	if strings.HasPrefix(c.GetName(), b.prefix) {
		return nil, nil, errors.New("refused by the test")
	}
	return nil, nil, nil
}

// The guard of both tests above: a plugin that breaks a spec does not go unnoticed.
func TestAPluginThatRefusesAContainerIsADifference(t *testing.T) {
	const refused = "runtime should support Privileged is false"
	run := Run{
		Runtime: integration.Containerd, Seed: 1,
		Focus: []string{refused, `runtime should support execSync \[Conformance\]`},
	}
	var round Round
	t.Run("without", func(t *testing.T) { round.Without, _ = run.Do(t, supply.For(run.Runtime)) })
	run.Started = func(n *integration.Node) {
		s, err := stub.New(breaking{prefix: "container-with-notPrivileged"}, stub.WithPluginName("breaking"), stub.WithPluginIdx("50"),
			stub.WithSocketPath(n.NRISocket()), stub.WithOnClose(func() {}))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Stop)
	}
	t.Run("with", func(t *testing.T) { round.With, _ = run.Do(t, supply.For(run.Runtime)) })
	if t.Failed() {
		return
	}
	if passes := len(round.Without.Passes()); passes != 2 {
		t.Fatalf("%d specs pass without the plugin, not both: %v", passes, round.Without.Failures())
	}
	got := Compare(round.Without, round.With)
	if len(got) != 1 || !strings.Contains(got[0].Spec, refused) || !strings.Contains(got[0].With.Why, "refused by the test") {
		t.Errorf("the comparison says %v, want one difference: %s", got, refused)
	}
	if wrong := (Result{Rounds: []Round{round}}).Wrong(); len(wrong) != 1 {
		t.Errorf("the result says %v", wrong)
	}
}
