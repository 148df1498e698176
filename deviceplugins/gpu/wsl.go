package gpu

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/inlay-project/inlay/deviceplugins/gpu/health"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
)

// A WSL guest has one node for all of Windows' GPUs; which of them a container may use is said by Level-Zero's variable.
const (
	dxg          = "/dev/dxg"
	wslLibraries = "/usr/lib/wsl"
	affinityMask = "ZE_AFFINITY_MASK"
	// indexTimeout is for asking the Level-Zero service which GPUs there are, in the middle of a scan.
	indexTimeout = 2 * time.Second
)

// windows is what the Level-Zero service said last of Windows' GPUs.
type windows struct {
	indices []uint32
	at      time.Time // of the answer, zero before the first
}

// scanWSL asks the Level-Zero service for the GPUs of Windows: nothing in sysfs tells of them, so every audit asks. While
// it does not answer, what is known stays in force for the grace, and is unhealthy after it.
func (f *Family) scanWSL(ctx context.Context, o Options) (plugin.Inventory, []plugin.Skipped, error) {
	if err := f.keepCDI(Inventory{}, o); err != nil {
		f.c.Log.WithError(err).Debug("CDI files of cards")
	}
	clear(f.memory)
	f.prepare(Inventory{}, ByPathNone)
	f.noteWSL()
	if !f.c.Root.Exists(dxg) {
		return plugin.Inventory{}, []plugin.Skipped{{Path: dxg, Reason: "gpu-wsl is set, and this is no WSL guest with a GPU"}}, nil
	}
	ask, cancel := context.WithTimeout(ctx, indexTimeout)
	defer cancel()
	indices, err := health.Indices(ask, o.LevelZeroSocket)
	switch {
	case err == nil:
		f.wsl.indices, f.wsl.at = indices, time.Now()
		return offerWSL(indices, o, ""), nil, nil
	case f.wsl.at.IsZero() || time.Since(f.wsl.at) < o.HealthGrace.duration():
		return nil, nil, err
	}
	return offerWSL(f.wsl.indices, o, fmt.Sprintf("no answer for longer than %s: %v", o.HealthGrace.duration(), err)), nil, err
}

// offerWSL is the inventory for these GPUs; sick is the reason why they are unhealthy.
func offerWSL(indices []uint32, o Options, sick string) plugin.Inventory {
	inv := plugin.Inventory{}
	for _, index := range indices {
		d := plugin.Device{Health: plugin.Healthy, Grant: plugin.Grant{
			Nodes:  nodes([]string{dxg}),
			Mounts: []plugin.Mount{readOnly(wslLibraries)},
			Env:    map[string]string{affinityMask: strconv.FormatUint(uint64(index), 10)},
		}}
		if sick != "" {
			d.Health, d.Reason = plugin.Unhealthy, sick
		}
		inv[Domain+"dxg"] = share(inv[Domain+"dxg"], d, fmt.Sprintf("card%d", index), o.SharedDevNum)
	}
	return inv
}

func (f *Family) noteWSL() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.places = nil
	f.watch = plugin.Watch{Folders: []plugin.Folder{{Path: f.c.Root.Join("/dev"), Match: func(name string) bool { return name == "dxg" }}}}
}

// duration of an option.
func (d Duration) duration() time.Duration { return time.Duration(d) }
