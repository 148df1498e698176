package main

import (
	"context"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/inlay-project/inlay/deviceplugins/cdi"
	"github.com/inlay-project/inlay/deviceplugins/config"
	"github.com/inlay-project/inlay/deviceplugins/fpga"
	"github.com/inlay-project/inlay/deviceplugins/idxd"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/sgx"
	"github.com/inlay-project/inlay/internal/cli"
)

// families is every family of this build.
type families struct {
	fpga     *fpga.Family
	sgx      *sgx.Family
	dsa, iaa *idxd.Family
}

// families makes them all. Which are offered is the engine's business: a family that is not costs nothing.
func (o *options) families(s config.Settings) (*families, error) {
	cards, err := o.fpgaFamily(s.FPGA)
	if err != nil {
		return nil, err
	}
	cdiDir, err := o.inside("cdi-dir", o.cdiDir)
	if err != nil {
		return nil, err
	}
	return o.make(s, cards, cdi.New(cdiDir, o.Root)), nil
}

// lookers makes them for a look from outside, which writes nothing.
func (o *options) lookers(s config.Settings) (*families, error) {
	cards, err := o.fpgaFamily(s.FPGA)
	if err != nil {
		return nil, err
	}
	return o.make(s, cards.ReadOnly(), nil), nil
}

func (o *options) make(s config.Settings, cards *fpga.Family, files *cdi.Folder) *families {
	return &families{
		fpga: cards,
		sgx:  sgx.New(sgx.Config{Root: o.Root, CDI: files, Log: o.Log}, s.SGX),
		dsa:  idxd.New(idxd.Config{Root: o.Root, Log: o.Log}, idxd.DSA, s.DSA),
		iaa:  idxd.New(idxd.Config{Root: o.Root, Log: o.Log}, idxd.IAA, s.IAA),
	}
}

// list gives them in the order of config.Known; fpgas is the FPGA family with what the process does around it.
func (f *families) list(fpgas plugin.Family) []plugin.Family {
	return []plugin.Family{fpgas, f.sgx, f.dsa, f.iaa}
}

// configure gives all families their settings and tells by name which have others now.
func (f *families) configure(s config.Settings) (changed []string) {
	for _, one := range []struct {
		plugin.Family
		changed bool
	}{
		{f.sgx, f.sgx.Configure(s.SGX)},
		{f.dsa, f.dsa.Configure(s.DSA)},
		{f.iaa, f.iaa.Configure(s.IAA)},
	} {
		if one.changed {
			changed = append(changed, one.Name())
		}
	}
	return changed
}

// run begins what families do by themselves, until ctx ends.
func (f *families) run(context.Context, *errgroup.Group, func(families ...string)) {}

// fpgaFamily makes the FPGA family.
func (o *options) fpgaFamily(s config.FPGA) (*fpga.Family, error) {
	call, err := o.hook.New(o.Common, 0)
	if err != nil {
		return nil, err
	}
	hook := fpga.Hook{Root: call.Root, Path: call.Path, Timeout: o.hook.Timeout, Args: call.Args}
	c := fpga.Config{Root: o.Root, Grant: s.Grant, Hook: hook, Log: o.Log}
	if c.RunDir, err = o.inside("run-dir", o.RunDir); err != nil {
		return nil, err
	}
	if c.CDIDir, err = o.inside("cdi-dir", o.cdiDir); err != nil {
		return nil, err
	}
	if c.Plugins, err = o.inside("kubelet-dir", filepath.Join(o.kubeletDir, "device-plugins")); err != nil {
		return nil, err
	}
	if o.podresources != "" {
		c.PodResources = o.podresources // nobody else is told of it, so it may be anywhere
		if socket, err := o.inside("podresources", o.podresources); err == nil {
			c.PodResources = socket
		}
		c.Kubelet = holders{socket: c.PodResources}
	}
	return fpga.New(c, s.Mode), nil
}

// settings reads the file, if there is one, and the flags, once.
func (o *options) settings() (config.Settings, error) {
	text, err := o.configText()
	if err != nil {
		return config.Settings{}, err
	}
	return o.read(text)
}

// read makes settings of a file's text. A mistake that is the flags' own is one of the call.
func (o *options) read(text []byte) (config.Settings, error) {
	if _, err := config.Read(nil, o.nodeName, o.given); err != nil {
		return config.Settings{}, cli.UsageError("%w", err)
	}
	settings, err := config.Read(text, o.nodeName, o.given)
	if err != nil {
		return settings, o.named(err)
	}
	return settings, nil
}
