// Package sgx offers the SGX nodes of a node to the kubelet.
//
// There is nothing to count in the hardware: /dev/sgx_enclave and /dev/sgx_provision are one node each, and any number of
// processes may have them open. How many containers get one is a limit that the user sets; what is really scarce is the
// memory of enclaves (EPC), an extended resource of its own (see the README).
//
// Both nodes come from one driver. They are offered when both are there, whether that is at the start or an hour later.
package sgx
