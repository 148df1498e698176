// Package emulator lets a command believe that FPGA cards are there: it makes host trees with such cards, and runs a
// command whose open and ioctl calls on their nodes are answered as the DFL and OPAE kernel drivers would.
package emulator
