// Command inlay-nri is Inlay's NRI plugin: it sees every container before it is created and gives FPGA containers,
// and only those, their device nodes and the hook that programs them.
//
// It runs beside the runtime (external: it connects to the runtime's NRI socket and comes back whenever that does) or
// under it (pre-installed: started from /opt/nri/plugins/40-inlay).
package main

import (
	"os"

	"github.com/inlay-project/inlay/internal/cli"
)

func main() { os.Exit(cli.Main(newCommand())) }
