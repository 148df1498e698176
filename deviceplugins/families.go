package main

import (
	"context"
	"path/filepath"

	"github.com/inlay-project/inlay/deviceplugins/cdi"
	"github.com/inlay-project/inlay/deviceplugins/config"
	"github.com/inlay-project/inlay/deviceplugins/dlb"
	"github.com/inlay-project/inlay/deviceplugins/fpga"
	"github.com/inlay-project/inlay/deviceplugins/gpu"
	"github.com/inlay-project/inlay/deviceplugins/idxd"
	"github.com/inlay-project/inlay/deviceplugins/npu"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/qat"
	"github.com/inlay-project/inlay/deviceplugins/sgx"
	"github.com/inlay-project/inlay/internal/cli"
)

// families is every family of this build.
type families struct {
	fpga     *fpga.Family
	gpu      *gpu.Family
	npu      *npu.Family
	qat      *qat.Family
	sgx      *sgx.Family
	dsa, iaa *idxd.Family
	dlb      *dlb.Family

	kick func(families ...string) // of run
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
	runDir, err := o.inside("run-dir", o.RunDir)
	if err != nil {
		return nil, err
	}
	files := cdi.New(cdiDir, o.Root)
	f := o.lookers(s, cards)
	f.gpu = gpu.New(gpu.Config{
		Root: o.Root, CDI: files, RunDir: runDir, Kick: func() { f.kick("gpu") }, Log: o.Log,
	}, s.GPU)
	f.qat = qat.New(qat.Config{Root: o.Root, Log: o.Log}, s.QAT)
	f.sgx = sgx.New(sgx.Config{Root: o.Root, CDI: files, Log: o.Log}, s.SGX)
	return f, nil
}

// lookers makes them for a look from outside, which writes nothing.
func (o *options) lookers(s config.Settings, cards *fpga.Family) *families {
	return &families{
		fpga: cards,
		gpu:  gpu.New(gpu.Config{Root: o.Root, Log: o.Log}, s.GPU),
		npu:  npu.New(npu.Config{Root: o.Root, Log: o.Log}, s.NPU),
		qat:  qat.New(qat.Config{Root: o.Root, Log: o.Log}, s.QAT).ReadOnly(),
		sgx:  sgx.New(sgx.Config{Root: o.Root, Log: o.Log}, s.SGX),
		dsa:  idxd.New(idxd.Config{Root: o.Root, Log: o.Log}, idxd.DSA, s.DSA),
		iaa:  idxd.New(idxd.Config{Root: o.Root, Log: o.Log}, idxd.IAA, s.IAA),
		dlb:  dlb.New(dlb.Config{Root: o.Root, Log: o.Log}, s.DLB),
	}
}

// list gives them in the order of config.Known; fpgas and enclaves are the families fpga and sgx with what the process does
// around them.
func (f *families) list(fpgas, enclaves plugin.Family) []plugin.Family {
	return []plugin.Family{fpgas, f.gpu, f.npu, f.qat, enclaves, f.dsa, f.iaa, f.dlb}
}

// configure gives all families their settings and tells by name which have others now.
func (f *families) configure(s config.Settings) (changed []string) {
	for _, one := range []struct {
		plugin.Family
		changed bool
	}{
		{f.gpu, f.gpu.Configure(s.GPU)},
		{f.npu, f.npu.Configure(s.NPU)},
		{f.qat, f.qat.Configure(s.QAT)},
		{f.sgx, f.sgx.Configure(s.SGX)},
		{f.dsa, f.dsa.Configure(s.DSA)},
		{f.iaa, f.iaa.Configure(s.IAA)},
		{f.dlb, f.dlb.Configure(s.DLB)},
	} {
		if one.changed {
			changed = append(changed, one.Name())
		}
	}
	return changed
}

// run does what families do by themselves, until ctx ends: some follow the health of their devices. kick makes the engine
// look at a family again.
func (f *families) run(ctx context.Context, kick func(families ...string)) error {
	f.kick = kick
	return f.gpu.Run(ctx)
}

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
