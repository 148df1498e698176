// Package fpga is the device family of FPGA cards: what a node offers, and what a container is answered.
//
// In af mode a device is a port with the function that it holds; in region and regiondevel mode a device is a
// management engine (FME). The name of a resource comes from ids that the card itself shows, so a card that dies does
// not turn up under a new name: it turns the resource unhealthy that it had.
//
// With the grant "nri" Allocate gives no device node. It gives the allocation record and the gate, and inlay-nri does
// the rest. With the grant "allocate", for runtimes without NRI, it gives the nodes and the stand-alone hook.
package fpga
