// Package devices joins what the answers to several Allocate calls say of one container.
//
// The kubelet calls Allocate once a resource and keeps one value of each variable, of whichever resource came last: a
// container with qat.intel.com/cy and qat.intel.com/dc gets one QAT0 and loses the other device's. So each answer also
// carries its devices in an annotation of its own (package record), and here, where all of them are seen, the final
// variables are made: numbered from 0 in the order of PCI addresses. Of GPUs it is /dev/dri/by-path: Allocate can only
// mount each link as a file, and here a container gets the links themselves, of all its cards, as the host has them.
//
// The kubelet keeps an answer as long as the pod lives, over a reboot too, which gives out the numbers of IOMMU groups and
// cards anew. The addresses in the records tell: a container whose device has another node now is refused.
//
// Nothing is granted here, since Allocate has given the devices. A container of one resource is right without this
// package, and one that asks for none of these families is never looked at.
package devices
