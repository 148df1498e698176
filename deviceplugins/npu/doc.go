// Package npu is the device family of Intel's neural processing units, as they are in Core Ultra processors:
//
//	npu.intel.com/accel                 a share of a unit, /dev/accel/accel<N>, of the kernel driver intel_vpu
//
// A unit is found in /sys/class/accel by vendor and device id. A node without that class has none, and that is all.
package npu
