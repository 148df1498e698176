// Package uevent reads the kernel's device events (netlink, NETLINK_KOBJECT_UEVENT, group 1: those of the kernel itself,
// not udev's).
//
// An event says that something happened, and to which subsystem; what there is now is for sysfs to say. No capability is
// needed. The kernel delivers to network namespaces that belong to the host's user namespace, so a pod without host
// network hears it too; in a rootless one nothing arrives and no error says so.
package uevent
