package gpu

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/hostfs"
)

const (
	pciDir    = "/sys/bus/pci/devices"
	subsystem = "drm"
)

// Diagnose implements plugin.Diagnoser.
func (f *Family) Diagnose(_ context.Context) []plugin.Finding {
	o, _, _ := f.current()
	if o.WSL {
		return f.diagnoseWSL(o)
	}
	found, err := Discover(f.c.Root, o)
	if err != nil {
		return []plugin.Finding{{Path: classDir, Reason: err.Error(), Remedy: "give the daemon the host's /sys"}}
	}
	findings := diagnose(f.c.Root, found, o)
	for _, socket := range []struct {
		asked      bool
		flag, path string
	}{{o.HealthManagement, "gpu-levelzero-socket", o.LevelZeroSocket}, {o.XPUMDEndpoint != "", "gpu-xpumd-endpoint", o.XPUMDEndpoint}} {
		if socket.asked && len(found.Cards) > 0 {
			findings = append(findings, lookAtSocket(socket.flag, socket.path)...)
		}
	}
	return findings
}

// Heal tells what helps a card that its source of health calls unhealthy. Of others a scan says what is wrong.
func (f *Family) Heal(d plugin.Device) string {
	o, source, _ := f.current()
	if source == nil || o.WSL || d.Health != plugin.Unhealthy {
		return ""
	}
	name, _, _ := strings.Cut(d.ID, "-")
	f.mu.Lock()
	address := f.places[name].address
	f.mu.Unlock()
	switch {
	case address == "", strings.HasPrefix(d.Reason, "no health data"): // what is wrong with the source is said of its socket
		return ""
	case o.HealthManagement && strings.HasSuffix(d.Reason, "°C"):
		return "cool it, or change the limit: --gpu-temp-limit, --gpu-gpu-temp-limit, --gpu-memory-temp-limit"
	}
	return "dmesg | grep " + address
}

// diagnose says why cards are not offered: a pure function of the host tree.
func diagnose(root *hostfs.Root, found Inventory, o Options) (findings []plugin.Finding) {
	add := func(path, remedy, format string, args ...any) {
		findings = append(findings, plugin.Finding{Path: path, Reason: fmt.Sprintf(format, args...), Remedy: remedy})
	}
	known := map[string]bool{}
	for _, s := range found.Skipped {
		add(s.Path, plugin.Remedy(s.Reason, subsystem), "%s", s.Reason)
		if real, err := root.Resolve(s.Path + "/device"); err == nil {
			known[real] = true
		}
	}
	for i := range found.Denied {
		c := &found.Denied[i]
		known[c.SysPath] = true
		add(c.SysPath, "change --"+o.filter(), "%s", c.denied(o))
	}
	linked := found.ByPath || o.ByPath == ByPathNone
	for i := range found.Cards {
		c := &found.Cards[i]
		known[c.SysPath] = true
		switch {
		case c.VFs > 0:
			add(c.SysPath, "echo 0 > "+c.SRIOV, "%s", c.divided())
		case !linked:
			linked = true // said once
			add(byPathDir, "udevadm trigger --subsystem-match="+subsystem, "there is no such folder, so containers get no links by PCI address")
		}
	}
	for _, s := range unobserved(found, o) {
		add(s.Path, plugin.Remedy(s.Reason, engines), "%s", s.Reason)
	}
	return append(findings, withoutCard(root, known)...)
}

// PassedOver are the cards that are well and not offered because somebody wants it so, with the reason: for a person who
// looks, where a scan has nothing to skip.
func (f *Family) PassedOver(context.Context) (list []plugin.Skipped) {
	o, _, _ := f.current()
	if o.WSL {
		return nil
	}
	found, err := Discover(f.c.Root, o)
	if err != nil {
		return nil // the scan says so
	}
	for i := range found.Cards {
		if c := &found.Cards[i]; c.VFs > 0 {
			list = append(list, plugin.Skipped{Path: c.SysPath, Reason: c.divided()})
		}
	}
	for i := range found.Denied {
		c := &found.Denied[i]
		list = append(list, plugin.Skipped{Path: c.SysPath, Reason: c.denied(o)})
	}
	return list
}

func (c *Card) divided() string {
	return fmt.Sprintf("%s has %d virtual functions enabled, so they are offered and it is not", c.Name, c.VFs)
}

func (c *Card) denied(o Options) string {
	return fmt.Sprintf("%s has the PCI device id %s and is left out by %s", c.Name, c.DeviceID, o.filter())
}

// filter is the flag that leaves cards out.
func (o Options) filter() string {
	if o.AllowIDs != "" {
		return "gpu-allow-ids"
	}
	return "gpu-deny-ids"
}

// withoutCard finds Intel's display controllers on the PCI bus that have no DRM device.
func withoutCard(root *hostfs.Root, known map[string]bool) (findings []plugin.Finding) {
	addresses, _ := root.ReadDir(pciDir) // without a PCI bus there is nothing to tell
	for _, address := range addresses {
		dir := pciDir + "/" + address
		class := attrOr(root, dir+"/class")
		if attrOr(root, dir+"/vendor") != intel || !strings.HasPrefix(class, "0x0300") && !strings.HasPrefix(class, "0x0380") {
			continue
		}
		real, err := root.Resolve(dir)
		if err != nil || known[real] {
			continue
		}
		f := plugin.Finding{Path: real}
		switch driver, err := root.Resolve(dir + "/driver"); {
		case err != nil:
			f.Reason, f.Remedy = "no driver is bound to this GPU", "modprobe xe || modprobe i915"
		case slices.Contains([]string{"vfio-pci", "xe-vfio-pci"}, path.Base(driver)):
			f.Reason = "this GPU is bound to " + path.Base(driver) + ", for a virtual machine"
			f.Remedy = fmt.Sprintf("echo %s > %s/unbind; echo %s > /sys/bus/pci/drivers_probe", address, driver, address)
		default:
			f.Reason, f.Remedy = "its driver "+path.Base(driver)+" has made no DRM device", "dmesg | grep "+address
		}
		findings = append(findings, f)
	}
	return findings
}

// lookAtSocket says why a service for health cannot be asked, as far as its socket tells.
func lookAtSocket(flag, path string) []plugin.Finding {
	f := plugin.Finding{Path: path, Remedy: "start the service, or mend --" + flag}
	switch st, err := os.Stat(path); {
	case err != nil:
		f.Reason = fmt.Sprintf("the health of GPUs cannot be asked for: %v", err)
	case st.Mode().Type() != os.ModeSocket:
		f.Reason = "the health of GPUs cannot be asked for: this is no socket"
	default:
		return nil
	}
	return []plugin.Finding{f}
}

func (f *Family) diagnoseWSL(o Options) (findings []plugin.Finding) {
	if !f.c.Root.Exists(dxg) {
		findings = append(findings, plugin.Finding{
			Path: dxg, Reason: "gpu-wsl is set, and this is no WSL guest with a GPU", Remedy: "take --gpu-wsl away, or update WSL and the GPU's driver in Windows",
		})
	}
	return append(findings, lookAtSocket("gpu-levelzero-socket", o.LevelZeroSocket)...)
}
