package fpga

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
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
		address, err := f.address(d.ID)
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

// address gives the PCI address of a device's FME as of the last scan.
func (f *Family) address(id string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.cards[id]
	if !ok {
		return "", fmt.Errorf("device %s is not there any more", id)
	}
	return p.address, nil
}

// PreStart implements plugin.PreStarter: an early no, which the kubelet shows and retries. What guards is the gate.
func (f *Family) PreStart(ctx context.Context, _ string, _ []string) error {
	if f.c.Grant == GrantAllocate {
		file, err := f.c.Root.Open(f.c.Hook.Path, unix.O_PATH)
		if err != nil {
			return fmt.Errorf("the hook that programs the FPGA is missing on this node: %w", err)
		}
		return file.Close()
	}
	s, err := nristatus.Ask(ctx, filepath.Join(f.c.RunDir, nristatus.SocketName))
	if err != nil {
		return err
	}
	return s.Ready()
}
