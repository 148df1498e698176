package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/inlay-project/inlay/deviceplugins/config"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/cli"
)

// diagnosis is what doctor has to say of one family.
type diagnosis struct {
	Family    string           `json:"family"`
	Devices   int              `json:"devices"`
	Unhealthy int              `json:"unhealthy"`
	Findings  []plugin.Finding `json:"findings"`
}

func doctorCommand(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "says for each device family why it offers nothing, or less than there is",
		Long: `doctor looks at the node once and says for each family what it would offer, what stands in the way, and the command
that would help; of one that is not among --families, that it was not asked for. It changes nothing. For what a running inlay-deviceplugin thinks, see /readyz.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return cli.UsageError("-o %q is neither text nor json", output)
			}
			families, err := o.with(cmd).discoverable(cmd.Context())
			if err != nil {
				return err
			}
			all := withOthers(diagnose(cmd.Context(), families))
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), all)
			}
			return printDiagnoses(cmd.OutOrStdout(), all)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

// healer is a family that knows what helps a device of the last scan that is unhealthy; an empty text if nothing does.
type healer interface {
	Heal(device plugin.Device) string
}

// withOthers adds the families that are not offered, in the order of config.Known, each with the flag that would have it
// looked at. The flag beats the file.
func withOthers(offered []diagnosis) []diagnosis {
	at := map[string]int{}
	for i, d := range offered {
		at[d.Family] = i
	}
	var all []diagnosis
	for _, name := range config.Known() {
		if i, ok := at[name]; ok {
			all = append(all, offered[i])
			continue
		}
		with := slices.DeleteFunc(config.Known(), func(known string) bool { _, ok := at[known]; return !ok && known != name })
		all = append(all, diagnosis{Family: name, Findings: []plugin.Finding{{
			Path: "--families", Reason: "it was not asked for, so nobody has looked", Remedy: "--families " + strings.Join(with, ","),
		}}})
	}
	return all
}

func diagnose(ctx context.Context, families []plugin.Family) []diagnosis {
	all := []diagnosis{}
	for _, f := range families {
		d := diagnosis{Family: f.Name(), Findings: []plugin.Finding{}}
		if a, ok := f.(asker); ok {
			a.Ask(ctx)
		}
		inv, skipped, err := f.Scan(ctx)
		seen := map[string]bool{}
		if diagnoser, ok := f.(plugin.Diagnoser); ok {
			for _, finding := range diagnoser.Diagnose(ctx) {
				seen[finding.Path] = true
				d.Findings = append(d.Findings, finding)
			}
		}
		if err != nil {
			d.Findings = append(d.Findings, plugin.Finding{Path: f.Name(), Reason: err.Error(), Remedy: plugin.Remedy(err.Error(), "")})
		}
		for _, s := range skipped {
			told := slices.ContainsFunc(d.Findings, func(f plugin.Finding) bool { return strings.HasSuffix(f.Reason, ": "+s.Reason) })
			if !seen[s.Path] && !told { // else the family knows more of it: a QAT card says it of all of its VFs
				d.Findings = append(d.Findings, plugin.Finding{Path: s.Path, Reason: s.Reason, Remedy: plugin.Remedy(s.Reason, "")})
			}
		}
		for resource, devices := range inv {
			for _, device := range devices {
				d.Devices++
				if device.Health == plugin.Unhealthy {
					d.Unhealthy++
					d.Findings = append(d.Findings, plugin.Finding{
						Path: resource + " " + device.ID, Reason: "unhealthy: " + device.Reason, Remedy: heal(f, d.Findings, device),
					})
				}
			}
		}
		all = append(all, d)
	}
	return all
}

// heal is what helps an unhealthy device: what its family knows of it, or has said of that reason already.
func heal(f plugin.Family, said []plugin.Finding, device plugin.Device) string {
	if h, ok := f.(healer); ok {
		if remedy := h.Heal(device); remedy != "" {
			return remedy
		}
	}
	if i := slices.IndexFunc(said, func(f plugin.Finding) bool { return f.Reason == device.Reason }); i >= 0 {
		return said[i].Remedy
	}
	return plugin.Remedy(device.Reason, "")
}

// printDiagnoses prints a family a paragraph.
func printDiagnoses(w io.Writer, all []diagnosis) error {
	for _, d := range all {
		state := "no such hardware on this node"
		switch {
		case d.Devices > 0 && d.Unhealthy > 0:
			state = fmt.Sprintf("offers %d, of which %d unhealthy", d.Devices, d.Unhealthy)
		case d.Devices > 0:
			state = fmt.Sprintf("offers %d", d.Devices)
		case len(d.Findings) > 0:
			state = "offers nothing"
		}
		if _, err := fmt.Fprintf(w, "%-5s %s\n", d.Family, state); err != nil {
			return err
		}
		for _, f := range d.Findings {
			if _, err := fmt.Fprintf(w, "      - %s: %s\n", printable(f.Path), printable(f.Reason)); err != nil {
				return err
			}
			if f.Remedy == "" {
				continue
			}
			if _, err := fmt.Fprintf(w, "        try: %s\n", printable(f.Remedy)); err != nil {
				return err
			}
		}
	}
	return nil
}
