package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/inlay-project/inlay/fpga/emulator"
)

func gbsCommand() *cobra.Command {
	var iface, afu string
	var size int
	cmd := &cobra.Command{
		Use:     "gbs --afu ID [--iface ID] [--size BYTES] FILE",
		Short:   "Write a valid GBS bitstream for the emulated card",
		Long:    "Write a valid GBS bitstream. Its payload follows from the two ids alone: equal arguments, equal file.",
		Example: "  fpga-emulator gbs --afu f7df405cbd7acf7222f144b0b93acd18 nlb3.gbs",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			data, err := emulator.GBS(iface, afu, size)
			if err != nil {
				return err
			}
			return os.WriteFile(args[0], data, 0o644)
		},
	}
	bitstreamFlags(cmd, &iface, &afu, &size)
	return cmd
}

func aocxCommand() *cobra.Command {
	var iface, afu, hash string
	var size int
	cmd := &cobra.Command{
		Use:   "aocx --afu ID [--iface ID] [--hash HEX] [--size BYTES] FILE",
		Short: "Write a valid AOCX (OpenCL) bitstream for the emulated card",
		Long:  "Write a valid AOCX bitstream around the GBS of the same ids, and print its hash, which is its name in a bitstream store.",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			data, name, err := emulator.AOCX(iface, afu, hash, size)
			if err != nil {
				return err
			}
			if err := os.WriteFile(args[0], data, 0o644); err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), name)
			return err
		},
	}
	bitstreamFlags(cmd, &iface, &afu, &size)
	cmd.Flags().StringVar(&hash, "hash", "", "build hash, 40 hex digits; default: derived from the content")
	return cmd
}

func bitstreamFlags(cmd *cobra.Command, iface, afu *string, size *int) {
	cmd.Flags().StringVar(iface, "iface", emulator.DefaultInterface, "interface id")
	cmd.Flags().StringVar(afu, "afu", "", "AFU id of the function")
	cmd.Flags().IntVar(size, "size", 4096, "payload size in bytes, at most 1 GiB")
	if err := cmd.MarkFlagRequired("afu"); err != nil {
		panic(err) // the flag is defined one line above
	}
}
