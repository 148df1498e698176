// Package idxd is the device families of Intel's DSA (data streaming) and IAA (in-memory analytics) accelerators, which
// share one kernel driver, idxd, and one implementation here: a Kind says which of the two.
//
// With the driver idxd a device is a work queue: the resource is <kind>.intel.com/wq-user-<mode>, a shared queue counts
// as often as the family's shared-dev-num says, and a container gets both paths of its node, /dev/dsa/wq0.1 and the link
// /dev/char/235:1, by which libaccel-config opens it. With the driver vfio-pci a device is a whole PCI function and the
// resource is <kind>.intel.com/vfio.
//
// Only queues of type user are offered: what the kernel uses itself has no node. A queue is offered while it is enabled
// and both paths are there, so one that is reconfigured goes and comes back, and one that udev has not finished comes a
// moment later. Nothing is written: binding drivers and configuring queues is for the node's administrator, and Diagnose
// gives the commands.
package idxd
