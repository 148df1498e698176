package crio

import (
	"github.com/inlay-project/inlay/integration/daemon"
	"github.com/inlay-project/inlay/integration/process"
)

// Daemon is one CRI-O.
type Daemon struct {
	Options
	*daemon.Daemon
}

// New lays out the daemon's folder and writes its configuration. Programs run in the
// launcher's environment; its mounts must be private, for CRI-O's own are not taken down.
func New(o Options, l *process.Launcher) (*Daemon, error) {
	d, err := daemon.New(daemon.Options{
		Command: process.Command{
			Name: "crio", Path: o.CRIO, Args: []string{"--config", o.configFile(), "--config-dir", ""},
			Env: o.env(), Log: o.LogFile(),
		},
		Socket: o.Socket(), NRISocket: o.NRISocket(),
		Dirs: append([]string{o.root(), o.state(), o.skopeoCache()}, o.HooksDirs...),
		Files: map[string]string{
			o.configFile(): o.config(), o.policyFile(): policy, o.storageFile(): o.storage(), o.registriesFile(): "",
		},
		CgroupParent: o.CgroupParent, Trace: o.Trace(),
	}, l)
	if err != nil {
		return nil, err
	}
	return &Daemon{Options: o, Daemon: d}, nil
}
