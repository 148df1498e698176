// Command fpga-emulator runs a command on emulated FPGA cards, and makes the host trees and bitstreams for it.
package main

import (
	"fmt"
	"os"

	"github.com/inlay-project/inlay/fpga/emulator"
)

func main() {
	emulator.Shim()
	code := 0
	if err := rootCommand(&code).Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "fpga-emulator:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}
