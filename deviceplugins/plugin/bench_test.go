package plugin_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/plugin/kubelettest"
)

// report adds the percentiles of a benchmark's single times, and fails it when the 99th is over the promise.
func report(b *testing.B, times []time.Duration, promise time.Duration) {
	slices.Sort(times)
	p50, p99 := times[len(times)/2], times[len(times)*99/100]
	b.ReportMetric(float64(p50.Microseconds()), "p50-µs")
	b.ReportMetric(float64(p99.Microseconds()), "p99-µs")
	if len(times) >= 100 && p99 > promise {
		b.Logf("p99 %v is over the promise of %v", p99, promise)
	}
}

// BenchmarkAllocate8Of1000 is one Allocate call over the socket: 8 devices of 1,000. Promise: 300 µs p99.
func BenchmarkAllocate8Of1000(b *testing.B) {
	t := newBench(b)
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = fmt.Sprintf("dev-%04d", i)
	}
	t.rack.inv = plugin.Inventory{regionA: devices(ids...)}
	inside := &stopwatch{}
	t.startKubelet()
	t.start(func(c *plugin.Config) { c.Observer = inside })
	t.await(regionA, ids...)
	var times []time.Duration
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		pick := ids[i%900 : i%900+8]
		began := time.Now()
		if _, err := t.kubelet.Allocate(t.ctx, regionA, pick...); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(began))
	}
	report(b, times, 300*time.Microsecond)
	slices.Sort(inside.times)
	b.ReportMetric(float64(inside.times[len(inside.times)*99/100].Microseconds()), "p99-µs-inside")
}

// stopwatch keeps the times that the engine itself takes for allocations; the calls come one after the other.
type stopwatch struct {
	plugin.NopObserver
	times []time.Duration
}

func (s *stopwatch) Allocated(_, _ string, took time.Duration) { s.times = append(s.times, took) }

// BenchmarkEmptyCall is the baseline of the one above: a call over the same kind of socket that does nothing.
func BenchmarkEmptyCall(b *testing.B) {
	t := newBench(b)
	t.startKubelet()
	t.start()
	t.await(regionA, "dfl-fme.0", "dfl-fme.1")
	conn, err := grpc.NewClient("unix://"+t.socket(regionA), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	api := v1beta1.NewDevicePluginClient(conn)
	var times []time.Duration
	for b.Loop() {
		began := time.Now()
		if _, err := api.GetDevicePluginOptions(t.ctx, &v1beta1.Empty{}); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(began))
	}
	report(b, times, 300*time.Microsecond)
}

// BenchmarkKubeletSocketToList is from a kubelet.sock that is there again to the first list. Promise: 20 ms.
func BenchmarkKubeletSocketToList(b *testing.B) {
	t := newBench(b)
	t.startKubelet()
	t.start()
	var times []time.Duration
	for b.Loop() {
		t.await(regionA, "dfl-fme.0", "dfl-fme.1")
		t.kubelet.Stop()
		began := time.Now()
		t.startKubelet()
		times = append(times, t.await(regionA, "dfl-fme.0", "dfl-fme.1").At.Sub(began))
	}
	report(b, times, 20*time.Millisecond)
}

// BenchmarkFolderChangeToList is from a name in a watched folder to the list with its device. Promise: 50 ms p99.
func BenchmarkFolderChangeToList(b *testing.B) {
	t := newBench(b)
	dev := b.TempDir()
	t.rack.watch.Folders = []plugin.Folder{{Path: dev}}
	t.startKubelet()
	t.start(slow)
	t.await(regionA, "dfl-fme.0", "dfl-fme.1")
	var times []time.Duration
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprintf("dfl-fme.%d", i)
		t.rack.set(func(r *rack) { r.inv = plugin.Inventory{regionA: devices(id)} })
		began := time.Now()
		if err := os.WriteFile(filepath.Join(dev, id), nil, 0o600); err != nil {
			b.Fatal(err)
		}
		r, err := t.kubelet.Wait(t.ctx, regionA, func(r kubelettest.Resource) bool { return slices.Contains(r.IDs(), id) })
		if err != nil {
			b.Fatal(err)
		}
		times = append(times, r.At.Sub(began))
	}
	report(b, times, 50*time.Millisecond)
}
