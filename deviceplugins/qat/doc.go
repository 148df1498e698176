// Package qat is the device family of QuickAssist: a device is a virtual function (VF) of a QAT card, given to a container
// through VFIO (or igb_uio), and a resource is what the card's services can do: qat.intel.com/cy, …/dc, …/sym-dc.
//
// discover is the pure middle: host tree and options to VFs. Family puts the world round it: it binds VFs that their kernel
// driver has, asks the cards for their heartbeat, and answers the kubelet.
//
// A heartbeat is not read like another file. Reading heartbeat/status makes the driver ask the card, and it refuses to ask
// again before the card's heartbeat period is over (200 ms, up to what heartbeat/config says): the file then says -1 of a
// healthy card, and the kernel's log has a warning. So this package asks each card at most once a period, and gives the file
// to the engine as a query and not as a value. A -1 counts if the driver's own count of failed queries went up with it; if
// the card's state is down; and if the driver has sent no query at all, neither for this process nor for another, since its
// counts were read more than a period ago: then it was not asked too early. Who looks once waits a period for that.
package qat
