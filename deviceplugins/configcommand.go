package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/inlay-project/inlay/deviceplugins/config"
	"github.com/inlay-project/inlay/internal/cli"
)

func configCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "prints the settings that are in force on this node",
		Long: `config prints every setting of the device families as it is in force: the defaults, the file of --config, its
overrides for this node (--node-name), environment and flags. The output is a configuration file itself.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := o.with(cmd).settings()
			if err != nil {
				return err
			}
			text, err := settings.YAML()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
}

func validateCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "validate [FILE]",
		Short: "checks a configuration file",
		Long: `validate reads a configuration file (that of --config, or FILE) with all of its overrides and says what is wrong with
it. It looks at no hardware. The exit code is 0 if nothing is wrong.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.with(cmd)
			if len(args) > 0 {
				o.config = args[0]
			}
			if o.config == "" {
				return cli.UsageError("no FILE and no --config: there is nothing to check")
			}
			text, err := o.configText()
			if err != nil {
				return err
			}
			if _, err := config.Read(text, o.nodeName, nil); err != nil {
				return o.named(err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: valid\n", o.config)
			return err
		},
	}
}

// named puts the file's name before what is wrong with it.
func (o *options) named(err error) error {
	if o.config == "" {
		return err
	}
	return fmt.Errorf("configuration %s: %w", o.config, err)
}
