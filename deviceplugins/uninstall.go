package main

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/inlay-project/inlay/deviceplugins/uninstall"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// policyName is the policy file's usual name in the state folder.
const policyName = "policy.json"

// uninstallOptions are the flags of uninstall-host alone.
type uninstallOptions struct {
	*options
	force, purge, check bool
	hooksDirs           []string
}

func uninstallCommand(o *options) *cobra.Command {
	u := &uninstallOptions{options: o}
	cmd := &cobra.Command{
		Use:   "uninstall-host",
		Short: "takes off this node what Inlay put there, once no pod has an FPGA",
		Long: `uninstall-host takes off this node what Inlay put there: sockets of all families in the kubelet's folder, the hooks.d JSON,
CDI files of FPGAs, GPUs and SGX, inlay-hook with its link, and the run folder with its folders of GPU links; with --purge
the policy file and the copy of the configuration too. It prints each. Bitstreams stay, and so do programs that somebody
copied to the node, and the label fpga.intel.com/mode of the Node.

It refuses while pods hold FPGAs, which it asks the kubelet, while another process has one open, and while Inlay's
daemons run, who would put things back; --force goes on all the same. CDI files and links that pods with a GPU or SGX would
miss stay until those are gone, or with --force; CDI files that another plugin of these devices may need stay in any case.

With --check it takes nothing away, and refuses as it would without; an inlay-nri that runs is no reason then: it may be
the runtime's, which inlay-nri uninstall-host is yet to take away.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return u.run(cmd) },
	}
	f := cmd.Flags()
	f.BoolVar(&u.force, "force", false, "go on although pods hold devices or Inlay's daemons run")
	f.BoolVar(&u.purge, "purge", false, "the policy file and the copy of the configuration go too")
	f.BoolVar(&u.check, "check", false, "take nothing away: only refuse, if pods or processes hold FPGAs or a device plugin runs")
	f.StringSliceVar(&u.hooksDirs, "hooks-dir", []string{"/etc/containers/oci/hooks.d", "/usr/share/containers/oci/hooks.d"},
		"host paths of the folders that may have inlay-hook's hooks.d JSON")
	return cmd
}

func (u *uninstallOptions) run(cmd *cobra.Command) error {
	node, err := u.node()
	if err != nil {
		return err
	}
	node.Out = cmd.OutOrStdout()
	ask := node.Reasons
	if u.check {
		ask = node.Holders
	}
	if reasons := ask(cmd.Context()); len(reasons) > 0 {
		if !u.force {
			return fmt.Errorf("nothing was taken away (--force does it all the same): %s", strings.Join(reasons, "; "))
		}
		for _, reason := range reasons {
			u.Log.Warnf("--force: %s", reason)
		}
	}
	if u.check {
		return nil
	}
	return node.Run(cmd.Context())
}

// node says where things are.
func (u *uninstallOptions) node() (uninstall.Node, error) {
	n := uninstall.Node{Root: u.Root, Purge: u.purge, Force: u.force}
	call, err := u.hook.New(u.Common, 0)
	if err != nil {
		return n, err
	}
	n.Hook = resolved(call.Root, path.Dir(call.Path))
	policy := u.policy
	if policy == "" {
		policy = filepath.Join(u.StateDir, policyName)
	}
	var policyDir, stateDir string
	for _, p := range []struct {
		flag, value string
		into        *string
	}{
		{"kubelet-dir", filepath.Join(u.kubeletDir, "device-plugins"), &n.Plugins},
		{"cdi-dir", u.cdiDir, &n.CDI},
		{"run-dir", u.RunDir, &n.RunDir},
		{"policy", filepath.Dir(policy), &policyDir},
		{"state-dir", u.StateDir, &stateDir},
	} {
		if *p.into, err = u.inside(p.flag, p.value); err != nil {
			return n, err
		}
	}
	n.State = []string{filepath.Join(policyDir, filepath.Base(policy)), filepath.Join(stateDir, lastGood)}
	for _, dir := range u.hooksDirs {
		n.HooksDs = append(n.HooksDs, resolved(u.Root, dir))
	}
	if u.podresources != "" {
		n.PodResources = u.podresources // nobody else is told of it, so it may be anywhere
		if socket, err := u.inside("podresources", u.podresources); err == nil {
			n.PodResources = socket
		}
	}
	return n, nil
}

// resolved gives a host path as this process sees it, without links where it exists.
func resolved(root *hostfs.Root, hostPath string) string {
	if real, err := root.Resolve(hostPath); err == nil {
		hostPath = real
	}
	return root.Join(hostPath)
}
