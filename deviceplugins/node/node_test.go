package node_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"

	"github.com/inlay-project/inlay/deviceplugins/node"
	"github.com/inlay-project/inlay/deviceplugins/node/nodetest"
)

// bench follows the Node "n1" of an API server.
type bench struct {
	t    *testing.T
	api  *nodetest.APIServer
	own  node.Own
	logs *test.Hook

	mu   sync.Mutex
	seen []string
	mode string
}

// newBench has a process whose flag says region: an annotation that names no mode changes nothing.
func newBench(t *testing.T) *bench {
	b := &bench{t: t, api: nodetest.Start(t, "n1"), mode: "region"}
	log, logs := test.NewNullLogger()
	log.SetLevel(logrus.DebugLevel)
	client, err := node.Client(b.api.Kubeconfig(t))
	if err != nil {
		t.Fatal(err)
	}
	b.logs = logs
	b.own = node.Own{Name: "n1", Client: client, Log: log, Changed: func(annotation string) string {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.seen = append(b.seen, annotation)
		switch annotation {
		case "af", "region", "regiondevel":
			b.mode = annotation
		case "":
			b.mode = "region"
		}
		return b.mode
	}}
	return b
}

// run follows until the test ends.
func (b *bench) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.own.Run(ctx)
	}()
	b.t.Cleanup(func() {
		cancel()
		<-done
	})
}

// eventually waits for what a remote change brings about.
func (b *bench) eventually(what string, ok func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("not within 10 s: %s; annotations seen: %q", what, b.annotations())
		}
	}
}

func (b *bench) annotations() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.seen)
}

func (b *bench) labelled(mode string) {
	b.t.Helper()
	b.eventually("label "+mode, func() bool { return b.api.Label(node.ModeLabel) == mode })
}

func TestMain(m *testing.M) {
	// client-go keeps idle connections of its clients for 90 s.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"), goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"))
}

func TestTheAnnotationIsSeenAtEveryChangeAndTheLabelFollows(t *testing.T) {
	b := newBench(t)
	b.run()
	b.labelled("region")
	b.api.Annotate(node.ModeAnnotation, "regiondevel")
	b.labelled("regiondevel")
	b.api.Annotate(node.ModeAnnotation, "af")
	b.labelled("af")
	b.api.Annotate(node.ModeAnnotation, "")
	b.labelled("region")
	if got := b.annotations(); !slices.Equal(got, []string{"", "regiondevel", "af", ""}) {
		t.Errorf("annotations seen: %q", got)
	}
	if gets, watches := b.api.Requests("get"), b.api.Requests("watch"); gets != 1 || watches != 1 {
		t.Errorf("%d reads and %d watches: the changes were not seen as they came", gets, watches)
	}
	want := `{"metadata":{"labels":{"fpga.intel.com/mode":"regiondevel"}}}`
	if got := b.api.Patches(); len(got) != 4 || got[1] != want {
		t.Errorf("patches: %q", got)
	}
}

func TestTheLabelIsWrittenOnlyWhereItDiffers(t *testing.T) {
	b := newBench(t)
	b.api.SetLabel(node.ModeLabel, "region")
	b.run()
	b.eventually("the watch", func() bool { return b.api.Requests("watch") == 1 })
	for range 5 {
		b.api.Touch()
	}
	b.api.Annotate(node.ModeAnnotation, "region")
	b.eventually("the annotation", func() bool { return len(b.annotations()) == 2 })
	if got := b.api.Patches(); len(got) != 0 {
		t.Errorf("patches: %q", got)
	}
	b.api.SetLabel(node.ModeLabel, "af") // by somebody else
	b.labelled("region")
	if got := b.api.Patches(); len(got) != 1 {
		t.Errorf("patches: %q", got)
	}
	if got := b.annotations(); !slices.Equal(got, []string{"", "region"}) {
		t.Errorf("told of annotations %q, of which each is news once", got)
	}
}

func TestAnAnnotationThatChangesNothingLeavesTheLabel(t *testing.T) {
	b := newBench(t)
	b.api.Annotate(node.ModeAnnotation, "af")
	b.run()
	b.labelled("af")
	b.api.Annotate(node.ModeAnnotation, "bogus")
	b.eventually("the annotation", func() bool { return slices.Contains(b.annotations(), "bogus") })
	b.api.Touch()
	time.Sleep(50 * time.Millisecond)
	if got := b.api.Label(node.ModeLabel); got != "af" {
		t.Errorf("label %q", got)
	}
}

func TestAnOutageOfTheAPIServerIsOutlived(t *testing.T) {
	b := newBench(t)
	b.api.SetDown(true)
	b.run()
	b.eventually("a refusal", func() bool { return b.api.Requests("get") > 0 })
	b.api.SetDown(false)
	b.labelled("region")
	b.eventually("the watch", func() bool { return b.api.Requests("watch") > 0 })

	b.api.SetDown(true) // while it is followed
	b.api.Annotate(node.ModeAnnotation, "af")
	gets := b.api.Requests("get")
	b.eventually("another try", func() bool { return b.api.Requests("get") > gets })
	if got := b.annotations(); !slices.Equal(got, []string{""}) {
		t.Errorf("annotations seen during the outage: %q", got)
	}
	b.api.SetDown(false)
	b.labelled("af")
	warned := slices.ContainsFunc(b.logs.AllEntries(), func(e *logrus.Entry) bool {
		return e.Level == logrus.WarnLevel && strings.Contains(e.Message, "cannot be followed")
	})
	if !warned {
		t.Error("nobody was told of the outage")
	}
}

// A token that names no node, say: the policy of deploy/node lets it read and not write.
func TestTheAnnotationCountsWhileTheLabelIsRefused(t *testing.T) {
	b := newBench(t)
	b.api.RefusePatches("its token names none")
	b.run()
	b.eventually("the watch", func() bool { return b.api.Requests("watch") == 1 })
	for _, mode := range []string{"regiondevel", "af"} {
		b.api.Annotate(node.ModeAnnotation, mode)
		b.eventually("the annotation", func() bool { return slices.Contains(b.annotations(), mode) })
	}
	b.eventually("another try", func() bool { return b.api.Requests("patch") >= 4 })
	if gets, watches := b.api.Requests("get"), b.api.Requests("watch"); gets != 1 || watches != 1 {
		t.Errorf("%d reads and %d watches: the refusal ended the watch", gets, watches)
	}
	var warnings []string
	for _, e := range b.logs.AllEntries() {
		if e.Level == logrus.WarnLevel {
			warnings = append(warnings, fmt.Sprint(e.Message, ": ", e.Data[logrus.ErrorKey]))
		}
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "this node's mode label cannot be written") || !strings.Contains(warnings[0], "its token names none") {
		t.Errorf("warnings %q, want one that says what was refused and why", warnings)
	}
	tries := b.api.Requests("patch")
	for range 20 {
		b.api.Touch()
	}
	b.api.Annotate(node.ModeAnnotation, "region") // told after the touches
	b.eventually("the last annotation", func() bool { return slices.Contains(b.annotations()[1:], "region") })
	if more := b.api.Requests("patch") - tries; more > 3 {
		t.Errorf("%d tries in a moment", more)
	}
	b.api.RefusePatches("")
	b.labelled("region")
}

func TestRunEndsWithItsContextWhileTheServerIsAway(t *testing.T) {
	b := newBench(t)
	b.api.SetDown(true)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if b.own.Run(ctx); time.Since(began) > 2*time.Second {
		t.Errorf("it ended after %v", time.Since(began))
	}
}

func TestTheAnnotationCanBeReadOnce(t *testing.T) {
	b := newBench(t)
	b.api.Annotate(node.ModeAnnotation, "regiondevel")
	if got, err := b.own.Annotation(t.Context()); err != nil || got != "regiondevel" {
		t.Errorf("%q, %v", got, err)
	}
	b.api.SetDown(true)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if got, err := b.own.Annotation(ctx); err == nil || !strings.Contains(err.Error(), "node n1: ") {
		t.Errorf("%q, %v", got, err)
	}
	if patches := b.api.Patches(); len(patches) != 0 {
		t.Errorf("a look wrote %q", patches)
	}
}

func TestOutsideOfAClusterThereIsNoClient(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := node.Client(""); err == nil {
		t.Error("a client without a cluster")
	}
	if _, err := node.Client("/nonexistent/kubeconfig"); err == nil {
		t.Error("a client without a kubeconfig")
	}
}
