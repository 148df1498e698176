package plugin

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// maxListBytes is what a gRPC client takes in one message unless told otherwise (4 MiB), and the kubelet is not told,
// less some room for the frame.
const maxListBytes = 4<<20 - 1024

// snapshot is what a resource offers at one moment. It never changes once it is made, so that any number of streams and
// calls may hold it.
type snapshot struct {
	devices []Device // sorted by id
	list    *v1beta1.ListAndWatchResponse
	since   time.Time // of the event that led to it
	err     error     // what could not be offered
}

func newSnapshot(devices []Device, since time.Time) *snapshot {
	s := &snapshot{devices: devices, since: since, list: &v1beta1.ListAndWatchResponse{}}
	s.list.Devices = make([]*v1beta1.Device, len(devices))
	for i, d := range devices {
		s.list.Devices[i] = listEntry(d)
	}
	// The kubelet would end the stream over a larger message and show no device at all: offer as many as fit.
	if size := proto.Size(s.list); size > maxListBytes {
		all := len(s.list.Devices)
		for size > maxListBytes {
			last := s.list.Devices[len(s.list.Devices)-1]
			size -= 1 + protowire.SizeBytes(proto.Size(last)) // the field's tag, its length and itself
			s.list.Devices = s.list.Devices[:len(s.list.Devices)-1]
		}
		s.devices = devices[:len(s.list.Devices)]
		s.err = fmt.Errorf("%d devices are more than one message to the kubelet holds: the last %d are not offered", all, all-len(s.devices))
	}
	return s
}

func listEntry(d Device) *v1beta1.Device {
	entry := &v1beta1.Device{ID: d.ID, Health: d.Health}
	if len(d.NUMA) > 0 { // a topology without nodes hides the device from the kubelet's GetAllocatableResources
		entry.Topology = &v1beta1.TopologyInfo{}
		for _, n := range d.NUMA {
			entry.Topology.Nodes = append(entry.Topology.Nodes, &v1beta1.NUMANode{ID: int64(n)})
		}
	}
	return entry
}

// find gives the device with this id.
func (s *snapshot) find(id string) (Device, bool) {
	i, ok := slices.BinarySearchFunc(s.devices, id, func(d Device, id string) int { return strings.Compare(d.ID, id) })
	if !ok {
		return Device{}, false
	}
	return s.devices[i], true
}

// count gives the numbers of devices by health.
func (s *snapshot) count() (healthy, unhealthy int) {
	for _, d := range s.devices {
		if d.Health == Healthy {
			healthy++
		}
	}
	return healthy, len(s.devices) - healthy
}

// feed holds the newest snapshot of one resource and tells its streams that there is one. Nobody ever waits for a stream,
// and no two streams share anything that one could take away from the other: each has its own signal of one place, and
// reads the newest snapshot when it comes to it.
type feed struct {
	mu      sync.Mutex
	current *snapshot
	frozen  bool
	signals map[chan struct{}]struct{}
}

func newFeed(first *snapshot) *feed {
	return &feed{current: first, signals: map[chan struct{}]struct{}{}}
}

// load gives the newest snapshot.
func (f *feed) load() *snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current
}

// store makes next the newest snapshot. Streams are woken only if the kubelet would see a difference.
func (f *feed) store(next *snapshot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	same := slices.EqualFunc(f.current.devices, next.devices, Device.listed)
	if same {
		next.list, next.since = f.current.list, f.current.since // streams tell lists apart by their address
	}
	f.current = next
	if !same {
		f.wake()
	}
}

// freeze keeps the streams silent, or lets them speak again, while another process serves the resource.
func (f *feed) freeze(frozen bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.frozen != frozen {
		f.frozen = frozen
		f.wake()
	}
}

// wake signals all streams. Called with mu held.
func (f *feed) wake() {
	for s := range f.signals {
		select {
		case s <- struct{}{}:
		default: // signalled already
		}
	}
}

// next gives the newest snapshot if its list is not the one sent last and the feed is not frozen.
func (f *feed) next(sent *v1beta1.ListAndWatchResponse) (*snapshot, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current, !f.frozen && f.current.list != sent
}

// subscribe gives a signal of one place, and the function that ends it.
func (f *feed) subscribe() (signal <-chan struct{}, end func()) {
	s := make(chan struct{}, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.signals[s] = struct{}{}
	return s, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.signals, s)
	}
}
