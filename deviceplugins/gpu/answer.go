package gpu

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/record"
)

// Allocate implements plugin.Allocator: the cards' nodes and links, or their CDI names where those are wanted, and never
// both; and the allocation record, by which inlay-nri finds the cards of a container.
func (f *Family) Allocate(_ context.Context, resource string, devices []plugin.Device) (*v1beta1.ContainerAllocateResponse, error) {
	given := slices.Clone(devices)
	for i := range given {
		if g := &given[i].Grant; len(g.CDI) > 0 {
			g.Nodes, g.Mounts = nil, nil
		}
	}
	answer := plugin.Merge(given)
	joinMasks(answer, devices)
	if entries := f.entries(devices); len(entries) > 0 {
		answer.Annotations[record.KeyFor(resource)] = record.Value(entries)
	}
	return answer, nil
}

// entries are the record's: a device and the PCI address of its card, as the last scan found it.
func (f *Family) entries(devices []plugin.Device) (entries []record.Device) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range devices {
		if p := f.places[cardOf(d.ID)]; p.address != "" {
			entries = append(entries, record.Device{ID: d.ID, Address: p.address})
		}
	}
	return entries
}

// joinMasks puts the affinity masks of several GPUs together, ascending: an environment variable has one value.
func joinMasks(answer *v1beta1.ContainerAllocateResponse, devices []plugin.Device) {
	var numbers []int
	for _, d := range devices {
		if n, err := strconv.Atoi(d.Grant.Env[affinityMask]); err == nil {
			numbers = append(numbers, n)
		}
	}
	if len(numbers) == 0 {
		return
	}
	slices.Sort(numbers)
	var mask []string
	for _, n := range slices.Compact(numbers) {
		mask = append(mask, strconv.Itoa(n))
	}
	answer.Envs[affinityMask] = strings.Join(mask, ",")
}
