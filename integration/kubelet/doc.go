// Package kubelet is a scripted kubelet: it speaks the real device plugin and
// podresources protocols over real sockets and does what the test tells it, so that a
// scenario can give a device to a pod, lie about it, fall silent or restart.
//
// What it answers to Allocate it merges as the kubelet does, and hands it over in the
// words of a CRI container.
package kubelet
