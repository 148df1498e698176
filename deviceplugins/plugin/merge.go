package plugin

import (
	"maps"
	"slices"

	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// Merge is the default answer to Allocate: the devices' grants one after the other. Nodes, mounts and CDI names that
// several devices share are given once; of two values for one environment variable or annotation the later wins.
func Merge(devices []Device) *v1beta1.ContainerAllocateResponse {
	out := &v1beta1.ContainerAllocateResponse{Envs: map[string]string{}, Annotations: map[string]string{}}
	nodes := make([]Node, 0, len(devices)) // most devices have one node
	out.Devices = make([]*v1beta1.DeviceSpec, 0, len(devices))
	var mounts []Mount
	var cdi []string
	for _, d := range devices {
		for _, n := range d.Grant.Nodes {
			if n.Permissions == "" {
				n.Permissions = "rw"
			}
			if !slices.Contains(nodes, n) {
				nodes = append(nodes, n)
				out.Devices = append(out.Devices, &v1beta1.DeviceSpec{HostPath: n.HostPath, ContainerPath: n.ContainerPath, Permissions: n.Permissions})
			}
		}
		for _, m := range d.Grant.Mounts {
			if !slices.Contains(mounts, m) {
				mounts = append(mounts, m)
				out.Mounts = append(out.Mounts, &v1beta1.Mount{HostPath: m.HostPath, ContainerPath: m.ContainerPath, ReadOnly: m.ReadOnly})
			}
		}
		for _, name := range d.Grant.CDI {
			if !slices.Contains(cdi, name) {
				cdi = append(cdi, name)
				out.CdiDevices = append(out.CdiDevices, &v1beta1.CDIDevice{Name: name})
			}
		}
		maps.Copy(out.Envs, d.Grant.Env)
		maps.Copy(out.Annotations, d.Grant.Annotations)
	}
	return out
}
