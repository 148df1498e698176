// Command inlay-deviceplugin tells the kubelet of a node's accelerators: all device families in one process.
package main

import (
	"os"

	"github.com/inlay-project/inlay/internal/cli"
)

func main() { os.Exit(cli.Main(newCommand())) }
