// Command inlay-webhook is Inlay's admission webhook: it puts FPGA resources and ids in the place of the names that
// containers ask for, and refuses the pods whose namespace has no mapping for what they want.
package main

import (
	"os"

	"github.com/inlay-project/inlay/internal/cli"
)

func main() { os.Exit(cli.Main(newCommand())) }
