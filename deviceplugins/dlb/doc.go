// Package dlb is the device family of the Dynamic Load Balancer (DLB 2.x, the out-of-tree driver dlb2). A device is a node
// /dev/dlbN: dlb.intel.com/pf for a whole card, dlb.intel.com/vf for a virtual function. A card with VFs is given out as
// those, and not as a whole. The id of a device is the path of its node.
package dlb
