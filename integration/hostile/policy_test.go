package hostile

import (
	"cmp"
	"context"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/deviceplugins/mirror"
	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/internal/policy"
	"github.com/inlay-project/inlay/webhook/api/follow"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// stored is what an API server tells of the world's mappings of one kind and interface, those from before its rules too.
type stored struct {
	kind  v2.Kind
	iface string
}

func (s stored) Run(ctx context.Context, h follow.Handler[v2.Object]) {
	var all []v2.Object
	for _, o := range append(Mappings(), Invalid()...) {
		var iface string
		switch m := o.(type) {
		case *v2.AcceleratorFunction:
			iface = m.Spec.InterfaceID
		case *v2.FpgaRegion:
			iface = m.Spec.InterfaceID
		}
		if o.Kind() == s.kind && iface == s.iface {
			all = append(all, o)
		}
	}
	h.Replace(all)
	h.InStep(time.Now())
	<-ctx.Done()
}

// written waits for the mirror's first file.
type written chan error

func (written) Holds(time.Time, int) {}
func (w written) Written(err error) {
	select {
	case w <- err:
	default: // the first one is what the test waits for
	}
}

// The nodes of the table have the policy that inlay-deviceplugin would have written for them.
func TestTheMirrorWritesThePolicyOfTheWorld(t *testing.T) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	first := make(written, 1)
	file := filepath.Join(t.TempDir(), "policy.json")
	m := mirror.New(mirror.Config{File: file, Observer: first, Log: log, Source: func(kind v2.Kind, iface fpga.InterfaceID) mirror.Source {
		return stored{kind, string(iface)}
	}})
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { m.Run(ctx) })
	m.See(true, []fpga.InterfaceID{ifaceA, ifaceB})
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	got, err := policy.Read(file, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(sorted(Policy().Namespaces), sorted(got.Namespaces)); diff != "" {
		t.Errorf("the policy (-table +mirror):\n%s", diff)
	}
}

func sorted(all map[string]policy.Namespace) map[string]policy.Namespace {
	for _, ns := range all {
		slices.SortFunc(ns.Functions, func(a, b policy.Function) int { return cmp.Compare(a.Name+a.Interface, b.Name+b.Interface) })
		slices.SortFunc(ns.Regions, func(a, b policy.Region) int { return cmp.Compare(a.Name, b.Name) })
	}
	return all
}
