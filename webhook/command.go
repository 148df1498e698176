package main

import (
	"bufio"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/inlay-project/inlay/internal/cli"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
	"github.com/inlay-project/inlay/webhook/fpga"
	"github.com/inlay-project/inlay/webhook/mappings"
)

const long = `inlay-webhook decides which pods get FPGA functions. A container asks for fpga.intel.com/<name>, where <name> is an
AcceleratorFunction or an FpgaRegion of its namespace; the webhook puts the resource and the ids in the name's place,
and refuses the pod if its namespace has no such mapping.

  inlay-webhook serve      answers the API server, over HTTPS
  inlay-webhook mutate     answers one AdmissionReview from standard input; the mappings come from files
  inlay-webhook explain    says in words what would happen to a pod, and why

What would happen to the pods of a Deployment, before there is a cluster:

  inlay-webhook explain --mappings mappings.yaml deployment.yaml`

func newCommand() (*cobra.Command, *cli.Service) {
	cmd := &cobra.Command{
		Use:   "inlay-webhook",
		Short: "decides which pods get FPGA functions",
		Long:  long,
		RunE: func(*cobra.Command, []string) error {
			return cli.UsageError("which command: serve, mutate or explain?")
		},
	}
	serve, service := serveCommand()
	cmd.AddCommand(serve, mutateCommand(), explainCommand())
	return cmd, service
}

// files are mappings from files, for the commands that know no cluster.
type files struct {
	paths            []string
	defaultNamespace string
	options          fpga.Options
}

func (f *files) flags(fs *pflag.FlagSet) {
	fs.StringArrayVar(&f.paths, "mappings", nil,
		"file of AcceleratorFunctions and FpgaRegions, YAML or JSON with any number of documents; may be given again")
	fs.BoolVar(&f.options.ModeAffinity, "mode-affinity", false,
		"send pods to nodes whose label "+v2.ModeLabel+" has the mode that they need")
}

// namespaceFlag adds the flag of the default namespace by the name that says what it is for in this command. The other
// command's name is understood too, and -n.
func (f *files) namespaceFlag(fs *pflag.FlagSet, name, usage string) {
	fs.SetNormalizeFunc(func(_ *pflag.FlagSet, given string) pflag.NormalizedName {
		if given == "namespace" || given == "namespace-default" {
			return pflag.NormalizedName(name)
		}
		return pflag.NormalizedName(given)
	})
	fs.StringVarP(&f.defaultNamespace, name, "n", "default", usage)
}

// read gives the mappings. One that leads nowhere is a line on stderr, as it is a condition of its status in a cluster.
func (f *files) read(stderr io.Writer) (*known, error) {
	if len(f.paths) == 0 {
		return nil, cli.UsageError("--mappings names no file; without mappings no pod gets anything")
	}
	index := mappings.NewIndex()
	placed, problems, err := index.Load(f.paths, f.defaultNamespace)
	if err != nil {
		return nil, err
	}
	for _, problem := range problems {
		fmt.Fprintf(stderr, "inlay-webhook: warning: %s\n", cli.OneLine(problem))
	}
	return &known{index, f.defaultNamespace, placed}, nil
}

// known are mappings that are all there.
type known struct {
	*mappings.Index
	defaultNamespace string
	placed           int // mappings that are in it because they name none
}

// DefaultNamespace implements server.Defaulter: a pod without a namespace is where such mappings are.
func (k *known) DefaultNamespace() string { return k.defaultNamespace }

// Missing implements server.Tables.
func (*known) Missing() []string { return nil }

// open gives a file to read; "-" is standard input.
func open(path string, stdin io.Reader) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(bufio.NewReader(stdin)), nil
	}
	return os.Open(path)
}
