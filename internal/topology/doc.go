// Package topology finds the NUMA nodes of a device in a host tree: a pure function of what sysfs says.
//
// A node of the device (or its sysfs folder) is followed upwards below /sys/devices; the first folder that gives a usable
// numa_node or local_cpulist decides. The rules are those that device plugins on this hardware have always used, so that
// the kubelet's Topology Manager places pods as before.
package topology
