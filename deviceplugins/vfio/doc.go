// Package vfio is what the device families share that hand PCI functions to user space: what the host says of a function,
// which nodes a container gets with it, how it is bound to a driver, and how the variables that name it are numbered.
// It is no family itself.
//
// # For a family
//
//	for _, address := range addresses {                        // Functions finds them by vendor and device id
//		d, err := vfio.Look(root, address)                 // driver, IOMMU group, cdev: an error is this device's
//		if !vfio.IsDriver(d.Driver) {
//			err = binder.Bind(ctx, d, vfio.DriverPCI, "4xxxvf")  // writes, with back-off; not in a read-only family
//		}
//		nodes, err := d.Nodes(root)                        // what Grant.Nodes holds
//		numa, err := topology.OfDevices(root, d.SysPath)
//	}
//
// and in Allocate, over all devices of the container: answer.Envs = vfio.Variables("QAT", addresses). A Device's own
// Grant.Env is the variable that is right if it is the container's only one: vfio.Variables("QAT", []string{address}).
//
// # Nodes
//
// A container gets /dev/vfio/<group> (noiommu-<group> where the kernel has made the group for a machine without IOMMU) and
// /dev/vfio/vfio. Where the kernel has a character device for the function itself (IOMMUFD, since Linux 6.6),
// /dev/vfio/devices/vfioN and /dev/iommu are given in addition, if both nodes are there with the numbers that sysfs says:
// a program may open either, and old ones know only the group. A kernel without groups (VFIO_GROUP=n), or without
// /dev/vfio/vfio, has the latter only. A function with neither pair is not given out.
//
// # Binding
//
// Binding is never fatal and never takes a function from somebody: not a PF, not one that a user space driver has (its
// user would lose it, or the write would wait for that user), only from the kernel drivers that the caller names. Nothing
// is unbound before it is certain that the new driver is loaded and may take the function. What failed is tried again at
// later scans, 5 s after the first failure and up to 5 min after further ones.
//
// What stands in the way of anything here is an Obstacle: a reason, and the command that would help.
package vfio
