package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/inlay-project/inlay/fpga/emulator"
)

const treeHelp = `Write the host tree of a node with FPGA cards below DIR: /sys as the kernel driver shows it, the device
nodes, and the folders of bitstreams, runtime state and kubelet.

A card is driver[:key=value,…]:
  driver  dfl (in-tree driver) or opae (Intel's out-of-tree driver)
  ports   number of ports, default 1
  iface   interface id of its regions, default ` + emulator.DefaultInterface + `
  afu     function of its ports: one id, or one a port joined by "/", default ` + emulator.DefaultAFU + `
  numa    NUMA node, default 0, -1 = unknown
  vf      1 = its last port was released and lives on a virtual function
  pci     PCI address, default a free one

Nodes are made with mknod and belong to root with mode 0600. Where mknod is not permitted (or with --plain-nodes) they
are empty files, and the emulator knows them by path.`

func treeCommand() *cobra.Command {
	var cards []string
	var plain, archive bool
	cmd := &cobra.Command{
		Use:     "tree --card CARD [--card CARD …] DIR",
		Short:   "Write the host tree of a node with FPGA cards",
		Long:    treeHelp,
		Example: "  fpga-emulator tree --card dfl:ports=2 --card opae:numa=1 /tmp/node",
		Args: func(_ *cobra.Command, args []string) error {
			if archive && len(args) == 0 || !archive && len(args) == 1 {
				return nil
			}
			return fmt.Errorf("want one DIR, or --txtar without DIR")
		},
		RunE: func(c *cobra.Command, args []string) error {
			parsed := make([]emulator.Card, 0, len(cards))
			for _, text := range cards {
				card, err := emulator.ParseCard(text)
				if err != nil {
					return err
				}
				parsed = append(parsed, card)
			}
			if archive {
				text, err := emulator.ArchiveText(parsed)
				if err != nil {
					return err
				}
				_, err = fmt.Fprint(c.OutOrStdout(), text)
				return err
			}
			var opts []emulator.TreeOption
			if plain {
				opts = append(opts, emulator.PlainNodes())
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			return emulator.WriteTree(args[0], parsed, opts...)
		},
	}
	cmd.Flags().StringArrayVar(&cards, "card", nil, "a card (see above); once a card")
	cmd.Flags().BoolVar(&plain, "plain-nodes", false, "make the device nodes plain files, also as root")
	cmd.Flags().BoolVar(&archive, "txtar", false, "print the tree as a txtar archive instead of writing it")
	return cmd
}
