//go:build integration

package chaos

import (
	"cmp"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/cluster"
)

var kit cluster.Kit

func TestMain(m *testing.M) { os.Exit(kit.Main(m)) }

// number is a setting of the environment, for more or other steps than `make integration` does.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(cmp.Or(os.Getenv(name), strconv.FormatUint(otherwise, 10)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// images are those of another version, which roll-outs go to and come back from: those of the folder that INLAY_NEXT_IMAGES
// names, a release's say, or made from this tree.
func images(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("INLAY_NEXT_IMAGES"); dir != "" {
		return dir
	}
	dir := t.TempDir()
	if err := cluster.BuildImages(t.Context(), kit.Tools(t).Tree, dir, NextVersion); err != nil {
		t.Fatal(err)
	}
	return dir
}

// testLog gives a test what is written, a line at a time.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// On containerd 60 steps, with each way to break something among them, on CRI-O 25. INLAY_CHAOS_STEPS and INLAY_CHAOS_SEED change what is done; INLAY_CHAOS_RUNTIME
// names one runtime, for 60 steps.
func TestPromisesAreKeptWhateverBreaks(t *testing.T) {
	const many, few = 60, 25
	plans := map[integration.RuntimeName]uint64{integration.Containerd: many, integration.CRIO: few}
	if name := os.Getenv("INLAY_CHAOS_RUNTIME"); name != "" {
		plans = map[integration.RuntimeName]uint64{integration.RuntimeName(name): many}
	}
	seed, next := number(t, "INLAY_CHAOS_SEED", 1), images(t)
	for name, steps := range plans {
		t.Run(string(name), func(t *testing.T) {
			t.Logf("seed %d", seed)
			keepPromises(t, name, Generate(seed, Plan{Steps: int(number(t, "INLAY_CHAOS_STEPS", steps)), Cover: true}), next)
		})
	}
}

func keepPromises(t *testing.T, runtime integration.RuntimeName, steps []Step, next string) {
	t.Helper()
	began := time.Now()
	report, err := Run(t.Context(), Options{
		Cluster: cluster.Options{Tools: kit.Tools(t), Runtime: runtime}, Steps: steps, Next: next, Log: testLog{t}, Name: t.Name(),
	})
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	report.Write(&s)
	t.Logf("%v\n%s", time.Since(began), s.String())
	for _, v := range report.Violations {
		t.Errorf("step %d, %s: %s", v.Step, v.Invariant, v.Text)
	}
	if report.Granted() == 0 || report.Readings == 0 || report.Programmed == 0 {
		t.Errorf("nothing was tested: %+v", report)
	}
}
