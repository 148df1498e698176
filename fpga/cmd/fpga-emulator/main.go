// Command fpga-emulator runs a command on emulated FPGA cards, and makes the host trees and bitstreams for it.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/inlay-project/inlay/fpga/emulator"
)

func main() {
	emulator.Shim()
	code := 0
	if err := execute(&code, os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fpga-emulator:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// execute runs one command line. What could not be written to out is an error, of the help too.
func execute(code *int, out io.Writer, args []string) error {
	w := &output{Writer: out}
	root := rootCommand(code)
	root.SetOut(w)
	root.SetArgs(args)
	if err := root.Execute(); err != nil {
		return err
	}
	return w.err
}

// output remembers the first error of a writer.
type output struct {
	io.Writer
	err error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if o.err == nil {
		o.err = err
	}
	return n, err
}
