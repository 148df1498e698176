// Package fpga names the parts of an FPGA card: interfaces, functions, management engines and ports.
//
// It is the vocabulary that the packages below it share, and it knows no Kubernetes: a resource name is only a name
// here. A card's management engine (FME) carries ports, each holding one accelerator function (AFU). The interface id
// of an FME says which bitstreams fit its regions; the AFU id of a port says what is loaded now.
package fpga
