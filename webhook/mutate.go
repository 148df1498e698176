package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/inlay-project/inlay/webhook/fpga"
	"github.com/inlay-project/inlay/webhook/server"
)

const longMutate = `mutate reads one AdmissionReview (admission.k8s.io/v1, JSON) from standard input and writes the answering
AdmissionReview on standard output, by the same code as serve. It needs no cluster: the mappings come from files.

  inlay-webhook mutate --mappings mappings.yaml < review.json

An answer that denies is an answer: the exit code is 0, also if the pod is malformed. What is no AdmissionReview is
denied too, and the exit code is then 1 with the reason on standard error: another object, no JSON from the first byte
to the last, more than 8 MiB, or more than 300 levels deep, which is read no further. A mapping that leads nowhere is
a warning there, and so is an object among the mappings that is of another API group. So is a pod that is denied
for want of a mapping, while those that name no namespace are in another one than it.`

func mutateCommand() *cobra.Command {
	f := &files{}
	check := false
	cmd := &cobra.Command{
		Use:   "mutate --mappings FILE… < REVIEW",
		Short: "answers one AdmissionReview from standard input",
		Long:  longMutate,
		Args:  cobra.ArbitraryArgs, // further files of mappings, so that a shell's pattern may follow --mappings
		RunE: func(cmd *cobra.Command, args []string) error {
			f.paths = append(f.paths, args...)
			return f.mutate(cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), check)
		},
	}
	f.flags(cmd.Flags())
	f.namespaceFlag(cmd.Flags(), "namespace-default", "namespace of the mappings, and of the request, that name none")
	cmd.Flags().BoolVar(&check, "check", false, "answer as the validating webhook: allow or deny, change nothing")
	return cmd
}

func (f *files) mutate(stdin io.Reader, stdout, stderr io.Writer, check bool) error {
	tables, err := f.read(stderr)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(stdin, server.MaxBody+1))
	if err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	answer, outcome, err := server.Review(body, check, tables, f.options)
	switch {
	case err != nil:
		answer = server.Refusal(err.Error())
	case outcome.NoReview:
		err = errors.New(outcome.Message)
	}
	if outcome.Unmapped && outcome.Namespace != f.defaultNamespace && tables.placed > 0 {
		fmt.Fprintf(stderr, "inlay-webhook: warning: mappings without a namespace (%d) are in namespace %s; the pod is in %s: --namespace-default puts them there\n",
			tables.placed, f.defaultNamespace, fpga.Show(outcome.Namespace))
	}
	if _, writeErr := stdout.Write(answer); writeErr != nil {
		return fmt.Errorf("standard output: %w", writeErr)
	}
	if err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	return nil
}
