// Package fpga decides what an FPGA container gets when it is created: whether it may have what it asks for, which
// ports hold or will hold its functions, and the hook that makes them so.
//
// Nothing that a pod can write is believed. Which device: the allocation record, checked against the host and the
// kubelet. Which function: the environment, as a wish. Whether it may: the policy file. Everything that waiting can
// heal is refused here, because the kubelet tries again; only what nobody else can know is left to the hook. The
// package opens no device, programs nothing, and changes nothing on the host.
package fpga
