package qat

import (
	"context"

	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/vfio"
	"github.com/inlay-project/inlay/internal/record"
)

// Allocate implements plugin.Allocator: nodes and mounts of all devices, QAT0, QAT1, … in address order, and the
// allocation record. The numbers are right for a container with one QAT resource; of several, inlay-nri numbers all of
// them together from their records.
func (f *Family) Allocate(_ context.Context, resource string, devices []plugin.Device) (*v1beta1.ContainerAllocateResponse, error) {
	addresses := make([]string, len(devices))
	entries := make([]record.Device, len(devices))
	for i, d := range devices {
		addresses[i] = d.ID
		entries[i] = record.Device{ID: d.ID, Address: d.ID}
	}
	answer := plugin.Merge(devices)
	answer.Envs = vfio.Variables("QAT", addresses)
	answer.Annotations[record.KeyFor(resource)] = record.Value(entries)
	return answer, nil
}
