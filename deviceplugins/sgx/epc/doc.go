// Package epc reads of a pod what it may have of the memory of enclaves: the limits of sgx.intel.com/epc of its containers.
//
// Source follows the pods that are bound to one node, for the node's policy file. Of each pod as the API server sends it
// nothing is kept but its names and, if it has anything of SGX, its limits: a node can have some hundred pods, and whoever
// may create one can make it a megabyte large.
package epc
