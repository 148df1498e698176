package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/inlay-project/inlay/deviceplugins/fpga"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/cli"
)

// advertised is a device as discover prints it.
type advertised struct {
	Resource    string            `json:"resource"`
	ID          string            `json:"id"`
	Health      string            `json:"health"`
	Reason      string            `json:"reason"`
	Nodes       []string          `json:"nodes"`
	Mounts      []string          `json:"mounts"`
	Env         map[string]string `json:"env"`
	Annotations map[string]string `json:"annotations"`
	CDI         []string          `json:"cdi"`
	NUMA        []int             `json:"numa"`
}

func discoverCommand(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "discover",
		Short: "prints what this node would advertise, and why devices are left out",
		Long: `discover looks at the node once, prints what inlay-deviceplugin would advertise, and ends.

A device that has to be left out is named on standard error with the reason.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return cli.UsageError("-o %q is neither table nor json", output)
			}
			families, err := o.with(cmd).discoverable(cmd.Context())
			if err != nil {
				return err
			}
			list, skipped := discover(cmd.Context(), families)
			for _, s := range skipped {
				fmt.Fprintf(cmd.ErrOrStderr(), "left out: %s\n", printable(s.String()))
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), list)
			}
			return printTable(cmd.OutOrStdout(), list)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

// discoverable makes the families without anything that a look from outside must not touch.
func (o *options) discoverable(ctx context.Context) ([]plugin.Family, error) {
	settings, err := o.settings()
	if err != nil {
		return nil, err
	}
	offered, err := settings.Offered()
	if err != nil {
		return nil, err
	}
	cards, err := o.fpgaFamily(settings.FPGA)
	if err != nil {
		return nil, err
	}
	all := o.lookers(settings, cards.ReadOnly())
	var list []plugin.Family
	for _, f := range all.list(all.fpga, all.sgx) {
		if slices.Contains(offered, f.Name()) {
			list = append(list, f)
		}
	}
	if slices.Contains(offered, all.fpga.Name()) {
		if err := o.asAnnotated(ctx, all.fpga); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// asAnnotated puts a family into the mode that the node's annotation says, as far as there is a Node to ask.
func (o *options) asAnnotated(ctx context.Context, family *fpga.Family) error {
	if o.nodeName == "" || !family.Present() {
		return nil
	}
	own, err := o.ownNode()
	if err != nil || own == nil {
		return err
	}
	mode := &override{options: o, flag: family.Mode(), cards: family}
	mode.look(ctx, own)
	return nil
}

// passer is a family that leaves devices out that are well, because somebody wants it so (a card whose virtual functions
// are offered). To the engine that is nothing worth a second look; a person who looks wants to know.
type passer interface {
	PassedOver(ctx context.Context) []plugin.Skipped
}

// asker is a family that asks somebody for the health of its devices while the daemon runs. One that looks once asks once.
type asker interface {
	Ask(ctx context.Context)
}

// discover looks once and sorts what it finds by resource, then id. A family that cannot look is left out as a whole, and
// takes no other with it.
func discover(ctx context.Context, families []plugin.Family) ([]advertised, []plugin.Skipped) {
	list := []advertised{}
	var skipped []plugin.Skipped
	for _, f := range families {
		if a, ok := f.(asker); ok {
			a.Ask(ctx)
		}
		inv, more, err := f.Scan(ctx)
		skipped = append(skipped, more...)
		if p, ok := f.(passer); ok {
			skipped = append(skipped, p.PassedOver(ctx)...)
		}
		if err != nil {
			skipped = append(skipped, plugin.Skipped{Path: "family " + f.Name(), Reason: err.Error()})
			continue
		}
		offered, more := plugin.Offerable(inv)
		skipped = append(skipped, more...)
		for resource, devices := range offered {
			for _, d := range devices {
				list = append(list, advertise(resource, d))
			}
		}
	}
	sort.Slice(list, func(i, j int) bool {
		if list[i].Resource != list[j].Resource {
			return list[i].Resource < list[j].Resource
		}
		return list[i].ID < list[j].ID
	})
	return list, skipped
}

func advertise(resource string, d plugin.Device) advertised {
	a := advertised{
		Resource: resource, ID: d.ID, Health: d.Health, Reason: d.Reason, Nodes: []string{}, Mounts: []string{},
		Env: map[string]string{}, Annotations: map[string]string{}, CDI: []string{}, NUMA: []int{},
	}
	for _, n := range d.Grant.Nodes {
		a.Nodes = append(a.Nodes, n.HostPath)
	}
	for _, m := range d.Grant.Mounts {
		a.Mounts = append(a.Mounts, m.HostPath)
	}
	for k, v := range d.Grant.Env {
		a.Env[k] = v
	}
	for k, v := range d.Grant.Annotations {
		a.Annotations[k] = v
	}
	a.CDI = append(a.CDI, d.Grant.CDI...)
	a.NUMA = append(a.NUMA, d.NUMA...)
	return a
}

func printJSON(w io.Writer, list any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(list)
}

func printTable(w io.Writer, list []advertised) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "This node would advertise nothing.")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "RESOURCE\tDEVICE\tHEALTH\tNUMA\tNODES\tREASON")
	for _, a := range list {
		numa := strings.Trim(fmt.Sprint(a.NUMA), "[]")
		if numa == "" {
			numa = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n",
			printable(a.Resource), printable(a.ID), a.Health, numa, printable(strings.Join(a.Nodes, " ")), printable(a.Reason))
	}
	return t.Flush()
}

// printable is a text without anything that a terminal would act on: names and values come out of files.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
