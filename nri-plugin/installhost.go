package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/yaml"

	"github.com/inlay-project/inlay/internal/atomicfile"
	"github.com/inlay-project/inlay/internal/cli"
	"github.com/inlay-project/inlay/internal/hookfile"
)

// Where a runtime looks for plugins that it starts itself, unless its configuration says otherwise.
const (
	pluginDir  = "/opt/nri/plugins"
	configDir  = "/etc/nri/conf.d"
	pluginName = "40-inlay"

	standardHook = "/opt/inlay/bin/" + hookfile.Name
)

// onHost is inlay-nri as a runtime starts it: the program and its configuration.
type onHost struct {
	*options
	pluginDir, configDir string
}

func installCommand(o *options) *cobra.Command {
	h := &onHost{options: o}
	cmd := &cobra.Command{
		Use:   "install-host [FLAG=VALUE…]",
		Short: "puts this program where the host's runtime starts it, with its configuration",
		Long: `install-host is for an init container: it puts this program into the runtime's plugin folder as 40-inlay, and FLAG=VALUE…,
flags of inlay-nri as they are to be on the host, into 40-inlay.conf. The runtime starts it when it is started itself.

The configuration also pins the hook that inlay-hook install-host has put in place, so run that first.`,
		Example: "  inlay-nri install-host --host-root=/host policy=/var/lib/inlay/policy.json http=127.0.0.1:9771",
		Args:    cobra.ArbitraryArgs,
		RunE:    func(cmd *cobra.Command, args []string) error { return h.install(cmd.OutOrStdout(), args) },
	}
	h.flags(cmd)
	return cmd
}

func uninstallCommand(o *options) *cobra.Command {
	h := &onHost{options: o}
	cmd := &cobra.Command{
		Use:   "uninstall-host",
		Short: "takes away what install-host put on the host",
		Long: `uninstall-host takes the program and its configuration out of the runtime's folders. An inlay-nri that the runtime has
started runs on until the runtime is started anew.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return h.uninstall(cmd.OutOrStdout()) },
	}
	h.flags(cmd)
	return cmd
}

func (h *onHost) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&h.pluginDir, "plugin-dir", "", "folder of the programs that the runtime starts (default <host-root>"+pluginDir+")")
	f.StringVar(&h.configDir, "config-dir", "", "folder of their configuration (default <host-root>"+configDir+")")
}

// resolve fills the defaults.
func (h *onHost) resolve() {
	for value, standard := range map[*string]string{&h.pluginDir: pluginDir, &h.configDir: configDir} {
		if *value == "" {
			*value = h.Root.Join(standard)
		}
	}
}

// install writes the configuration first: a program that is there without one would be started with the defaults. The
// program comes last, and by rename out of the folder above: a runtime that starts in the middle and finds an executable
// of another name in its plugin folder would refuse to start.
func (h *onHost) install(out io.Writer, settings []string) error {
	h.resolve()
	config, err := h.config(settings)
	if err != nil {
		return err
	}
	for _, dir := range []string{h.configDir, h.pluginDir} {
		if err := h.guarded(dir); err != nil {
			return err
		}
	}
	file := filepath.Join(h.configDir, pluginName+".conf")
	if err := atomicfile.Write(file, config, 0o600); err != nil {
		return err
	}
	fmt.Fprintln(out, file, "written")
	file = filepath.Join(h.pluginDir, pluginName)
	changed, err := putSelf(file)
	if err != nil {
		return err
	}
	if changed {
		fmt.Fprintln(out, file, "put in place; the runtime starts it when it is started itself")
	} else {
		fmt.Fprintln(out, file, "was there")
	}
	return nil
}

// config is the text of the configuration, once the flags in it are known to be right.
func (h *onHost) config(settings []string) ([]byte, error) {
	values := map[string]string{}
	for _, s := range settings {
		flag, value, ok := strings.Cut(s, "=")
		if _, twice := values[flag]; !ok || twice {
			return nil, cli.UsageError("%q is not FLAG=VALUE, each flag once", s)
		}
		values[flag] = value
	}
	if _, own := values["hook-source"]; !own {
		hook, err := h.installedHook(values["hook-path"])
		if err != nil {
			return nil, err
		}
		values["hook-source"] = hook
	}
	text, err := yaml.Marshal(values)
	if err != nil {
		return nil, err
	}
	var there options // as they will be when the runtime has started it
	cmd := there.command()
	flags := cmd.Flags()
	flags.AddFlagSet(cmd.PersistentFlags())
	if err := applyConfig(flags, string(text)); err != nil {
		return nil, cli.UsageError("%w", err)
	}
	if err := there.check(); err != nil {
		return nil, err
	}
	return append([]byte("# Written by inlay-nri install-host; the next one writes it anew.\n"), text...), nil
}

// installedHook is the host path of the version that the link inlay-hook leads to.
func (h *onHost) installedHook(link string) (string, error) {
	if link == "" {
		link = standardHook
	}
	to, err := os.Readlink(h.Root.Join(link))
	if err != nil {
		return "", fmt.Errorf("%w; run inlay-hook install-host first", err)
	}
	if !hookfile.Versioned(to) {
		return "", fmt.Errorf("%s leads to %s, which is no version of inlay-hook; run inlay-hook install-host first", h.Root.Join(link), to)
	}
	return path.Join(path.Dir(link), to), nil
}

// guarded makes a folder that root alone can write.
func (h *onHost) guarded(dir string) error {
	below, err := filepath.Rel(h.Root.Dir(), dir)
	if err != nil || !filepath.IsLocal(below) {
		return fmt.Errorf("%s is outside the host root %s", dir, h.Root.Dir())
	}
	folder, err := hookfile.OpenFolder(h.Root.Dir(), below, true)
	if err != nil {
		return err
	}
	return folder.Close()
}

// putSelf puts the running program at file, if it is not there already.
func putSelf(file string) (changed bool, err error) {
	self, err := os.ReadFile("/proc/self/exe") // what runs, whatever has become of its name since
	if err != nil {
		return false, err
	}
	if have, err := os.ReadFile(file); err == nil && slices.Equal(have, self) {
		st, err := os.Lstat(file)
		if err == nil && st.Mode() == 0o755 {
			return false, nil
		}
	}
	aside := filepath.Join(filepath.Dir(filepath.Dir(file)), "."+pluginName)
	if err := atomicfile.Write(aside, self, 0o755); err != nil {
		return false, err
	}
	if err := os.Rename(aside, file); err != nil {
		return false, err
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return false, err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, unix.EINVAL) { // some file systems cannot sync a folder
		return false, err
	}
	return true, nil
}

// uninstall takes the program away first: without it the configuration means nothing. The folders are the runtime's.
func (h *onHost) uninstall(out io.Writer) error {
	h.resolve()
	aside := filepath.Join(filepath.Dir(h.pluginDir), "."+pluginName)
	for _, file := range []string{filepath.Join(h.pluginDir, pluginName), aside, filepath.Join(h.configDir, pluginName+".conf")} {
		err := os.Remove(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "removed ", file)
	}
	return nil
}
