package mappings

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	iface = "69528db6eb31577a8c3668f9faa081f6"
	nlb0  = "d8424dc4a4a3c413f89e433683f9040b"
)

func function(namespace, name, mode string) v2.Object {
	return &v2.AcceleratorFunction{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, CreationTimestamp: metav1.Unix(1000, 0)},
		Spec:       v2.AcceleratorFunctionSpec{Mode: mode, InterfaceID: iface, AfuID: nlb0},
	}
}

func region(namespace, name string) v2.Object {
	return &v2.FpgaRegion{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, CreationTimestamp: metav1.Unix(2000, 0)},
		Spec:       v2.FpgaRegionSpec{InterfaceID: iface},
	}
}

// readiness is the reason of each mapping that an index has, by namespace, kind and name.
func readiness(x *Index) map[string]string {
	x.write.Lock()
	defer x.write.Unlock()
	all := map[string]string{}
	for namespace, records := range x.spaces {
		for _, r := range records {
			_, reason, _, _ := x.Table(namespace).Ready(r.kind, r.name)
			all[fmt.Sprintf("%s %s/%s", r.kind, namespace, r.name)] = reason
		}
	}
	return all
}

func TestTheTablesAreWhatWasTold(t *testing.T) {
	const good, conflict, mode = v2.ReasonLeadsToResource, v2.ReasonNameConflict, v2.ReasonInvalidMode
	x := NewIndex()
	functions, regions := x.Handler(v2.KindAcceleratorFunction), x.Handler(v2.KindFpgaRegion)
	for _, step := range []struct {
		name string
		do   func()
		want map[string]string
	}{
		{"nothing", func() {}, map[string]string{}},
		{"functions", func() { functions.Replace([]v2.Object{function("a", "f", "af"), function("b", "f", "region")}) }, map[string]string{
			"AcceleratorFunction a/f": good, "AcceleratorFunction b/f": good,
		}},
		{"regions beside them", func() { regions.Replace([]v2.Object{region("a", "r"), region("c", "r")}) }, map[string]string{
			"AcceleratorFunction a/f": good, "AcceleratorFunction b/f": good, "FpgaRegion a/r": good, "FpgaRegion c/r": good,
		}},
		{"one more of the same name", func() { regions.Upsert(region("a", "f")) }, map[string]string{
			"AcceleratorFunction a/f": good, "FpgaRegion a/f": conflict,
			"AcceleratorFunction b/f": good, "FpgaRegion a/r": good, "FpgaRegion c/r": good,
		}},
		{"the older one leads nowhere", func() { functions.Upsert(function("a", "f", "afoo")) }, map[string]string{
			"AcceleratorFunction a/f": mode, "FpgaRegion a/f": good,
			"AcceleratorFunction b/f": good, "FpgaRegion a/r": good, "FpgaRegion c/r": good,
		}},
		{"functions are listed anew", func() { functions.Replace([]v2.Object{function("a", "g", "af")}) }, map[string]string{
			"AcceleratorFunction a/g": good, "FpgaRegion a/f": good, "FpgaRegion a/r": good, "FpgaRegion c/r": good,
		}},
		{"what is not there is deleted", func() { functions.Delete("a", "r"); functions.Delete("z", "z") }, map[string]string{
			"AcceleratorFunction a/g": good, "FpgaRegion a/f": good, "FpgaRegion a/r": good, "FpgaRegion c/r": good,
		}},
		{"deleted", func() { regions.Delete("a", "f"); regions.Delete("a", "r"); functions.Delete("a", "g") }, map[string]string{
			"FpgaRegion c/r": good,
		}},
		{"away", func() { regions.Away(fmt.Errorf("broken")); regions.InStep(time.Now()) }, map[string]string{"FpgaRegion c/r": good}},
		{"no regions any more", func() { regions.Replace(nil) }, map[string]string{}},
	} {
		step.do()
		if diff := cmp.Diff(step.want, readiness(x)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", step.name, diff)
		}
	}
	if len(x.spaces) > 0 || len(x.tables) > 0 {
		t.Errorf("of namespaces without mappings %d and %d are left", len(x.spaces), len(x.tables))
	}
}

func TestAnIndexIsReadyWhenBothKindsAreTold(t *testing.T) {
	x := NewIndex()
	if diff := cmp.Diff([]string{"AcceleratorFunctions are not synchronised yet", "FpgaRegions are not synchronised yet"}, x.Missing()); diff != "" {
		t.Error(diff)
	}
	x.Handler(v2.KindAcceleratorFunction).Upsert(function("a", "f", "af"))
	x.Handler(v2.KindFpgaRegion).Replace(nil)
	if diff := cmp.Diff([]string{"AcceleratorFunctions are not synchronised yet"}, x.Missing()); diff != "" {
		t.Error(diff)
	}
	x.Handler(v2.KindAcceleratorFunction).Replace(nil)
	if missing := x.Missing(); len(missing) > 0 {
		t.Errorf("missing %q", missing)
	}
}

// A new table is made for a change only: our own writes of a status come back as changes of the object.
func TestWhatDoesNotMatterLeavesTheTable(t *testing.T) {
	x := NewIndex()
	h := x.Handler(v2.KindAcceleratorFunction)
	h.Replace([]v2.Object{function("a", "f", "af"), function("a", "odd", "afoo")})
	table := x.Table("a")
	again := function("a", "odd", "afoo")
	again.State().Resource, again.(*v2.AcceleratorFunction).ResourceVersion = "x", "99"
	h.Upsert(again)
	h.Replace([]v2.Object{function("a", "odd", "afoo"), function("a", "f", "af")})
	if x.Table("a") != table {
		t.Error("another table")
	}
	h.Upsert(function("a", "f", "region"))
	if x.Table("a") == table {
		t.Error("the same table after a change")
	}
}

func TestCountTellsHowManyAreReady(t *testing.T) {
	x := NewIndex()
	x.Handler(v2.KindAcceleratorFunction).Replace([]v2.Object{function("a", "f", "af"), function("b", "f", "afoo")})
	want := map[v2.Kind]Tally{v2.KindAcceleratorFunction: {Ready: 1, NotReady: 1}, v2.KindFpgaRegion: {}}
	if diff := cmp.Diff(want, x.Count()); diff != "" {
		t.Error(diff)
	}
}

func TestReadersAndWritersDoNotMeet(t *testing.T) {
	x := NewIndex()
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				x.Table("a").Ready(v2.KindAcceleratorFunction, "f")
				x.Missing()
				x.Count()
			}
		})
	}
	for _, kind := range v2.Kinds() {
		writers.Go(func() {
			h := x.Handler(kind)
			for i := range 300 {
				o := function("a", "f", "af")
				if kind == v2.KindFpgaRegion {
					o = region("a", "f")
				}
				switch i % 3 {
				case 0:
					h.Replace([]v2.Object{o})
				case 1:
					h.Upsert(o)
				case 2:
					h.Delete("a", "f")
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	if all := readiness(x); len(all) > 0 {
		t.Errorf("left %v", all)
	}
}

// A count goes over every mapping; who changes one does not wait for that, and does not change what is counted.
func TestACountIsOfOneMomentAndHoldsNobodyUp(t *testing.T) {
	x := NewIndex()
	functions, regions := x.Handler(v2.KindAcceleratorFunction), x.Handler(v2.KindFpgaRegion)
	functions.Replace([]v2.Object{function("a", "f", "af"), function("a", "g", "af"), function("a", "odd", "afoo"), function("b", "f", "af")})
	regions.Replace([]v2.Object{region("a", "r"), region("a", "s")})
	was := x.moment()
	records := slices.Clone(was.spaces["a"])
	want := map[v2.Kind]Tally{v2.KindAcceleratorFunction: {3, 1}, v2.KindFpgaRegion: {2, 0}}
	for _, change := range []struct {
		name string
		do   func()
	}{
		{"changed", func() { functions.Upsert(function("a", "f", "afoo")) }},
		{"deleted", func() { regions.Delete("a", "r") }},
		{"added", func() { functions.Upsert(function("a", "a", "af")) }},
		{"added again", func() { functions.Upsert(function("a", "b", "af")) }},
		{"a namespace emptied", func() { functions.Delete("b", "f") }},
		{"a namespace added", func() { functions.Upsert(function("c", "f", "af")) }},
		{"listed anew", func() { functions.Replace(nil) }},
	} {
		change.do()
		if diff := cmp.Diff(want, was.count()); diff != "" {
			t.Fatalf("%s meanwhile: counted (-want +got)\n%s", change.name, diff)
		}
		if !slices.EqualFunc(records, was.spaces["a"], same) {
			t.Fatalf("%s meanwhile: the records have changed", change.name)
		}
	}
	if diff := cmp.Diff(map[v2.Kind]Tally{v2.KindAcceleratorFunction: {}, v2.KindFpgaRegion: {1, 0}}, x.Count()); diff != "" {
		t.Errorf("in the end: (-want +got)\n%s", diff)
	}
}

// many is 10,000 mappings in 1,000 namespaces, each string in memory of its own as a decoder makes them.
func many() (functions, regions []v2.Object) {
	for n := range 1000 {
		for i := range 10 {
			namespace, name := fmt.Sprintf("team-%04d-namespace", n), fmt.Sprintf("accelerator-function-%d", i)
			if i == 9 {
				o := region(namespace, name).(*v2.FpgaRegion)
				o.Spec.InterfaceID = fmt.Sprintf("%032x", i)
				regions = append(regions, o)
				continue
			}
			o := function(namespace, name, "region").(*v2.AcceleratorFunction)
			o.Spec.InterfaceID, o.Spec.AfuID = fmt.Sprintf("%032x", i), fmt.Sprintf("%032x", 100+i)
			functions = append(functions, o)
		}
	}
	return functions, regions
}

func TestTenThousandMappingsCostLittle(t *testing.T) {
	before := heap()
	x := NewIndex()
	functions, regions := many()
	x.Handler(v2.KindAcceleratorFunction).Replace(functions)
	x.Handler(v2.KindFpgaRegion).Replace(regions)
	functions, regions = nil, nil
	live := heap() - before
	t.Logf("10,000 mappings in 1,000 namespaces: %.2f MiB live", float64(live)/(1<<20))
	if live > 8<<20 {
		t.Error("more than 8 MiB")
	}
	if n := x.Count(); n[v2.KindAcceleratorFunction].Ready != 9000 || n[v2.KindFpgaRegion].Ready != 1000 {
		t.Errorf("%v", n)
	}
	runtime.KeepAlive(functions)
	runtime.KeepAlive(regions)
	if allocs := testing.AllocsPerRun(100, func() { x.Table("team-0500-namespace") }); allocs > 0 {
		t.Errorf("%v allocations to find a table", allocs)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkTable(b *testing.B) {
	x := NewIndex()
	functions, regions := many()
	x.Handler(v2.KindAcceleratorFunction).Replace(functions)
	x.Handler(v2.KindFpgaRegion).Replace(regions)
	b.ReportAllocs()
	for b.Loop() {
		if x.Table("team-0500-namespace") == nil {
			b.Fatal("no table")
		}
	}
}

func BenchmarkUpsert(b *testing.B) {
	x := NewIndex()
	functions, _ := many()
	h := x.Handler(v2.KindAcceleratorFunction)
	h.Replace(functions)
	modes := [2]string{"af", "region"}
	i := 0
	for b.Loop() {
		o := functions[0].(*v2.AcceleratorFunction)
		o.Spec.Mode = modes[i%2]
		h.Upsert(o)
		i++
	}
}

func BenchmarkReplace(b *testing.B) {
	functions, _ := many()
	for b.Loop() {
		NewIndex().Handler(v2.KindAcceleratorFunction).Replace(functions)
	}
}
