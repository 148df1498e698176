package familytest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
)

// Device is a device as discover -o json prints it.
type Device struct {
	Resource    string            `json:"resource"`
	ID          string            `json:"id"`
	Health      string            `json:"health"`
	Reason      string            `json:"reason"`
	Nodes       []string          `json:"nodes"`
	Mounts      []string          `json:"mounts"`
	Env         map[string]string `json:"env"`
	Annotations map[string]string `json:"annotations"`
	CDI         []string          `json:"cdi"`
	NUMA        []int             `json:"numa"`
}

// Scan looks once, and nothing goes wrong with the look itself.
func Scan(t testing.TB, f plugin.Family) (plugin.Inventory, []plugin.Skipped) {
	t.Helper()
	inv, skipped, err := f.Scan(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", f.Name(), err)
	}
	return inv, skipped
}

// Devices are all devices of inventories, sorted as discover sorts them. A node that is not where it is on the host, or not
// to read and write, and a mount that is elsewhere than on the host are written out with all that is said of them.
func Devices(inventories ...plugin.Inventory) []Device {
	list := []Device{}
	for _, inv := range inventories {
		for resource, devices := range inv {
			for _, d := range devices {
				list = append(list, device(resource, d))
			}
		}
	}
	slices.SortFunc(list, func(a, b Device) int {
		return cmp.Or(strings.Compare(a.Resource, b.Resource), strings.Compare(a.ID, b.ID))
	})
	return list
}

func device(resource string, d plugin.Device) Device {
	a := Device{
		Resource: resource, ID: d.ID, Health: cmp.Or(d.Health, plugin.Healthy), Reason: d.Reason, Nodes: []string{}, Mounts: []string{},
		Env: map[string]string{}, Annotations: map[string]string{},
		CDI: append([]string{}, d.Grant.CDI...), NUMA: append([]int{}, d.NUMA...),
	}
	for _, n := range d.Grant.Nodes {
		text := n.HostPath
		if n.HostPath != n.ContainerPath || n.Permissions != "rw" {
			text = fmt.Sprintf("%+v", n)
		}
		a.Nodes = append(a.Nodes, text)
	}
	for _, m := range d.Grant.Mounts {
		text := m.HostPath
		if m.HostPath != m.ContainerPath {
			text = fmt.Sprintf("%+v", m)
		}
		a.Mounts = append(a.Mounts, text)
	}
	maps.Copy(a.Env, d.Grant.Env)
	maps.Copy(a.Annotations, d.Grant.Annotations)
	return a
}
