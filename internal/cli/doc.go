// Package cli gives Inlay's daemons one command line: the same flags, the same environment, the same last words.
//
// Every flag of a command has an environment twin, INLAY_ and its name in upper snake case: --host-root and
// INLAY_HOST_ROOT. The flag beats the environment. A twin that is set counts even when it is empty (INLAY_HTTP= turns
// HTTP off), and a value that the flag would refuse is an error that names the variable.
//
// A path flag is a path as the process sees it. Its default lies below --host-root, and what goes into a hook, a CDI
// file or an answer to the kubelet is the host's path: Common.HostPath takes the prefix off.
//
// Main runs a cobra command until it ends or SIGTERM, SIGINT or SIGHUP ask it to, and turns its error into one line on
// stderr and an exit code: 0, 1 (it failed) or 2 (it was called wrongly). A second signal ends the process at once.
//
//	func main() { os.Exit(cli.Main(newCommand())) }
//
//	func newCommand() (*cobra.Command, *cli.Common) {
//		var opts options
//		cmd := &cobra.Command{Use: "inlay-nri", RunE: func(cmd *cobra.Command, _ []string) error { … cmd.Context() … }}
//		common := cli.Add(cmd, ":9771")
//		common.Path(&opts.kubeletDir, "kubelet-dir", "/var/lib/kubelet", "the kubelet's folder")
//		common.PathBelow(&opts.podresources, "podresources", "kubelet-dir", "pod-resources/kubelet.sock", "…; empty = no kubelet")
//		return cmd, common
//	}
//
// A daemon that knows no host takes AddService in Add's place: the log, --http and nothing else.
//
// inlay-hook does not use this package: it is made of the standard library alone.
package cli
