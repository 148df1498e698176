// Command fpga_tool is the bench tool for FPGA cards: it shows bitstream files, cards and ports, installs bitstreams
// into the store, programs a port, and moves ports between physical and virtual functions.
//
// Commands, flags and output labels are those of the reference tool, so that scripts go on working; README.md beside
// this file is the manual and lists where it differs. Programming goes through region.Ensure like everybody else's, so
// the tool waits its turn and never reprograms a port that a container has open.
package main
