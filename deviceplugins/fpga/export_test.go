package fpga

// Admission is how long an answer of Allocate counts before the kubelet lists it.
const Admission = admission
