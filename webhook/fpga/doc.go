// Package fpga says what becomes of a pod that asks for FPGAs: which names are replaced by which ids, which variables
// its containers get, or why it is refused. It is a function of the pod and of the mappings of its namespace alone, and
// the same pod and mappings always give the same answer, byte for byte.
//
// Translate is what the mutating webhook answers, Check what the validating one does: the same rules, by which the
// outcome of Translate needs nothing more. A pod that passes Check gets no FPGA that a mapping of its namespace does not
// give, and tells the node to program no function that none of them names.
//
// The rules:
//
//   - A container asks by the name of a mapping (an alias, fpga.intel.com/<name>) or by the name of a resource itself (a
//     raw name, fpga.intel.com/region-… or af-…), in equal requests and limits. A raw name is granted if any valid
//     mapping of the namespace leads to it.
//   - All that one container asks for is of one mode.
//   - Variables that begin with FPGA_REGION or FPGA_AFU choose the function that the node programs. They are ours: a
//     container that brings its own is refused, unless they are exactly what Translate would have written.
//   - A patch changes the names asked for, puts our variables before the container's own, and touches nothing else.
package fpga
