// Package sgx holds enclaves to the memory that their container asked for.
//
// A pod's limit of sgx.intel.com/epc is counted by the scheduler and then forgotten: the resource belongs to no device
// plugin, so neither the kubelet nor the runtime does anything about it. The kernel can, in a cgroup's misc.max. The limit
// comes from the policy file, which inlay-deviceplugin keeps in step with the pods that are bound to its node: nothing that
// a runtime tells of a container could be believed for it.
//
// Tested up to the OCI specification that a runtime passes to runc, by NRI's own adaptation. On a kernel with SGX and a misc
// controller that knows sgx_epc it was not run.
package sgx
