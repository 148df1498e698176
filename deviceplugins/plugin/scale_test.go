package plugin_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/plugin/kubelettest"
	"github.com/inlay-project/inlay/internal/childtest"
)

// most is how many devices of one resource the promises are about: 64 cards in 64 shares.
const most = 4096

// sendPromise is from a change to the list with it, of most devices, at the kubelet.
const sendPromise = 50 * time.Millisecond

// longIDs makes ids as long as the API allows.
func longIDs(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s-%04d", strings.Repeat("x", 58), i)
	}
	return ids
}

// spread makes devices that share a grant, each on two NUMA nodes.
func spread(ids []string) []plugin.Device {
	numa := []int{0, 255}
	grant := plugin.Grant{Nodes: []plugin.Node{{HostPath: "/dev/x", ContainerPath: "/dev/x"}, {HostPath: "/dev/y", ContainerPath: "/dev/y"}}}
	list := make([]plugin.Device, len(ids))
	for i, id := range ids {
		list[i] = plugin.Device{ID: id, NUMA: numa, Grant: grant}
	}
	return list
}

// flips makes one of the rack's devices sick or well and gives the time until the kubelet knows.
func (b *bench) flips(list []plugin.Device, round int) time.Duration {
	b.Helper()
	at := round % len(list)
	next := slices.Clone(list)
	next[at].Health, next[at].Reason = plugin.Unhealthy, "for the test"
	b.rack.set(func(r *rack) { r.inv = plugin.Inventory{regionA: next} })
	began := time.Now()
	b.engine.Kick()
	r, err := b.kubelet.Wait(b.ctx, regionA, func(r kubelettest.Resource) bool {
		return len(r.Devices) == len(list) && r.Devices[at].GetHealth() == plugin.Unhealthy
	})
	if err != nil {
		b.Fatal(err)
	}
	return r.At.Sub(began)
}

func TestAListOf4096DevicesIsOneMessageAndFast(t *testing.T) {
	b := newBench(t)
	ids := longIDs(most)
	list := spread(ids)
	b.rack.inv = plugin.Inventory{regionA: list}
	b.startKubelet()
	b.start(slow)
	// The kubelet's client takes messages of gRPC's default, 4 MiB, and so does this one.
	r := b.await(regionA, ids...)
	size := proto.Size(&v1beta1.ListAndWatchResponse{Devices: r.Devices})
	if size > 1<<20 {
		t.Errorf("%d devices are a message of %d bytes, more than a quarter of what the kubelet takes", most, size)
	}
	best := time.Hour // a machine that does something else as well is not what is measured
	for round := range 10 {
		best = min(best, b.flips(list, round))
	}
	t.Logf("%d devices: %d bytes, a change is at the kubelet after %v", most, size, best)
	if best > sendPromise && !childtest.Race {
		t.Errorf("a change of one of %d devices is at the kubelet after %v at best, promised are %v", most, best, sendPromise)
	}
}

// BenchmarkListOf4096Devices is from a Kick to the list with a change, of 4,096 devices. Promise: 50 ms p99.
func BenchmarkListOf4096Devices(b *testing.B) {
	t := newBench(b)
	ids := longIDs(most)
	list := spread(ids)
	t.rack.inv = plugin.Inventory{regionA: list}
	t.startKubelet()
	t.start(slow)
	r := t.await(regionA, ids...)
	var times []time.Duration
	b.ReportAllocs()
	for round := 0; b.Loop(); round++ {
		times = append(times, t.flips(list, round))
	}
	report(b, times, sendPromise)
	b.ReportMetric(float64(proto.Size(&v1beta1.ListAndWatchResponse{Devices: r.Devices})), "bytes/list")
}

// BenchmarkAllocate8Of4096 is one Allocate call over the socket: 8 devices of 4,096. Promise: 300 µs p99.
func BenchmarkAllocate8Of4096(b *testing.B) {
	t := newBench(b)
	ids := longIDs(most)
	t.rack.inv = plugin.Inventory{regionA: spread(ids)}
	t.startKubelet()
	t.start(slow)
	t.await(regionA, ids...)
	var times []time.Duration
	for i := 0; b.Loop(); i++ {
		at := i * 31 % (most - 8)
		began := time.Now()
		if _, err := t.kubelet.Allocate(t.ctx, regionA, ids[at:at+8]...); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(began))
	}
	report(b, times, 300*time.Microsecond)
}
