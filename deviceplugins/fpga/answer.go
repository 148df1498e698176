package fpga

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/nristatus"
	"github.com/inlay-project/inlay/internal/record"
)

// Allocate implements plugin.Allocator: the allocation record and a CDI device always, nodes only where nobody else
// would give them.
func (f *Family) Allocate(_ context.Context, resource string, devices []plugin.Device) (*v1beta1.ContainerAllocateResponse, error) {
	kind := strings.TrimPrefix(resource, Domain)
	entries := make([]record.Device, len(devices))
	for i, d := range devices {
		address, err := f.take(resource, d.ID)
		if err != nil {
			return nil, err
		}
		entries[i] = record.Device{ID: d.ID, Address: address}
	}
	answer := &v1beta1.ContainerAllocateResponse{}
	if f.c.Grant == GrantAllocate {
		answer = plugin.Merge(devices)
	} else {
		answer.CdiDevices = []*v1beta1.CDIDevice{{Name: cdiKind + "=" + gateDevice}}
	}
	if answer.Annotations == nil {
		answer.Annotations = map[string]string{}
	}
	answer.Annotations[record.Key(kind)] = record.Value(entries)
	return answer, nil
}

// take notes that a device is given out as a resource and gives the PCI address of its FME. The devices may have changed
// since the kubelet was told of them.
func (f *Family) take(resource, id string) (address string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.places[id]
	switch {
	case !ok:
		return "", fmt.Errorf("device %s is not there any more", id)
	case p.sick != "":
		return "", fmt.Errorf("device %s is unhealthy: %s", id, p.sick)
	case p.resource != resource:
		return "", fmt.Errorf("device %s is %s now", id, p.resource)
	}
	f.answered[id] = answer{resource: resource, at: time.Now()}
	return p.address, nil
}

// PreStart implements plugin.PreStarter: an early no, which the kubelet shows and retries. What guards is the gate.
func (f *Family) PreStart(ctx context.Context, _ string, _ []string) error {
	if f.c.Grant == GrantAllocate {
		if err := f.c.Hook.check(); err != nil {
			return fmt.Errorf("the hook that programs the FPGA is missing on this node: %w", err)
		}
		return nil
	}
	s, err := nristatus.Ask(ctx, filepath.Join(f.c.RunDir, nristatus.SocketName))
	if err != nil {
		return err
	}
	return s.Ready()
}
