package qat

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/vfio"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// Diagnose implements plugin.Diagnoser. After a Scan it has that one's answers of the cards: asked again, they would have none.
func (f *Family) Diagnose(ctx context.Context) []plugin.Finding {
	o := f.current()
	return diagnose(f.c.Root, o, f.look(ctx, o))
}

// diagnose tells why a host offers no QAT VFs, or fewer than it has. It writes nothing.
func diagnose(root *hostfs.Root, o Options, found Inventory) []plugin.Finding {
	findings := unclaimed(root, o, found)
	blind := false
	for _, pf := range found.PFs {
		findings = append(findings, pf.diagnose(root)...)
		blind = blind || pf.VFs > 0
	}
	if _, err := root.ReadDir(debugfs); blind && err != nil {
		findings = append(findings, plugin.Finding{
			Path: debugfs, Reason: fmt.Sprintf("the cards' heartbeat cannot be seen: %v", cause(err)),
			Remedy: "mount -t debugfs none " + debugfs + ", and let this process see it",
		})
	}
	findings = append(findings, obstacles(root, o, found)...)
	if text := leftOut(found, o); text != "" {
		findings = append(findings, plugin.Finding{
			Path: vfio.Devices + "/" + found.LeftOut[0], Reason: text,
			Remedy: fmt.Sprintf("--qat-max-num-devices=%d", len(found.LeftOut)+len(found.VFs)),
		})
	}
	for _, s := range found.Skipped {
		findings = append(findings, plugin.Finding{Path: s.Path, Reason: s.Reason, Remedy: plugin.Remedy(s.Reason, vfio.Subsystem)})
	}
	return findings
}

// unclaimed are cards, and in a virtual machine VFs, that the options or their drivers keep out.
func unclaimed(root *hostfs.Root, o Options, found Inventory) []plugin.Finding {
	var findings []plugin.Finding
	enabled := o.takenFrom()
	for _, k := range kinds() {
		pfs, _ := vfio.Functions(root, vfio.Intel, func(id string) bool { return slices.Contains(k.pfIDs, id) })
		for _, pf := range pfs {
			if slices.ContainsFunc(found.PFs, func(p *PF) bool { return p.Address == pf.Address }) {
				continue
			}
			d, err := vfio.Look(root, pf.Address)
			if err != nil {
				findings = append(findings, vfio.Finding(vfio.Devices+"/"+pf.Address, err, vfio.Subsystem))
				continue
			}
			if finding, ok := k.unclaimedPF(root, d, enabled); ok {
				findings = append(findings, finding)
			}
		}
		if slices.Contains(enabled, k.vfDriver) || len(found.PFs) > 0 {
			continue
		}
		vfs, _ := vfio.Functions(root, vfio.Intel, func(id string) bool { return slices.Contains(k.vfIDs, id) })
		for _, vf := range vfs {
			if dir := vfio.Devices + "/" + vf.Address; !root.Exists(dir + "/physfn") {
				findings = append(findings, k.notEnabled(dir, "VF", enabled))
			}
		}
	}
	return findings
}

func (k kind) notEnabled(dir, what string, enabled []string) plugin.Finding {
	return plugin.Finding{
		Path: dir, Reason: fmt.Sprintf("a QAT %s of the kind %s, which is not among --qat-kernel-vf-drivers", what, k.vfDriver),
		Remedy: "--qat-kernel-vf-drivers=" + strings.Join(append(slices.Clone(enabled), k.vfDriver), ","),
	}
}

func (k kind) unclaimedPF(root *hostfs.Root, d vfio.Device, enabled []string) (plugin.Finding, bool) {
	f := plugin.Finding{Path: d.SysPath}
	switch {
	case d.Driver == k.pfDriver && !slices.Contains(enabled, k.vfDriver):
		return k.notEnabled(d.SysPath, "card", enabled), true
	case d.Driver == k.pfDriver:
		return f, false // its driver's folder could not be read, which is said elsewhere
	case d.Driver == "" && !root.Exists(vfio.Drivers+"/"+k.pfDriver):
		f.Reason, f.Remedy = "a QAT card without driver: the module "+k.module+" is not loaded", "modprobe "+k.module
	case d.Driver == "":
		f.Reason = "a QAT card without driver, although " + k.pfDriver + " is loaded: it could not start the card"
		f.Remedy = "dmesg | grep " + d.Address + "   (often the firmware is missing below /lib/firmware)"
	default:
		f.Reason = fmt.Sprintf("a QAT card that %s has as a whole, so there are no VFs", d.Driver)
		f.Remedy = fmt.Sprintf("echo %s > %s/%s/unbind; echo > %s/driver_override; modprobe %s; echo %s > %s/%s/bind",
			d.Address, vfio.Drivers, d.Driver, d.SysPath, k.module, d.Address, vfio.Drivers, k.pfDriver)
	}
	return f, true
}

// diagnose looks at a card that its driver has.
func (p *PF) diagnose(root *hostfs.Root) []plugin.Finding {
	var findings []plugin.Finding
	add := func(path, remedy, format string, args ...any) {
		findings = append(findings, plugin.Finding{Path: path, Reason: fmt.Sprintf(format, args...), Remedy: remedy})
	}
	state, err := root.ReadAttr(p.SysPath + "/qat/state")
	up := err != nil || state == "up"
	if !up {
		add(p.SysPath+"/qat/state", "echo up > "+p.SysPath+"/qat/state", "the card's state is %.20q: its VFs do nothing, and what they will be able to do is not known", state)
	}
	if p.VFs == 0 {
		total, err := root.ReadAttr(p.SysPath + "/sriov_totalvfs")
		switch {
		case hostfs.Absent(err) || err == nil && total == "0":
			add(p.SysPath, "turn SR-IOV and VT-d on in the firmware", "the card has no VFs to enable: SR-IOV is off")
		case err == nil:
			add(p.SysPath+"/sriov_numvfs", "echo "+total+" > "+p.SysPath+"/sriov_numvfs", "none of the card's %s VFs is enabled", total)
		}
		return findings
	}
	if p.Sick != "" && up {
		remedy := "echo 1 > " + p.SysPath + "/reset"
		if root.Exists(p.SysPath + "/qat/auto_reset") {
			remedy = "echo on > " + p.SysPath + "/qat/auto_reset"
		}
		add(p.debug()+"/heartbeat/status", remedy, "%s", p.Sick)
	}
	return findings
}

// obstacles are VFs that cannot be given out, those of one card with one reason together.
func obstacles(root *hostfs.Root, o Options, found Inventory) []plugin.Finding {
	type group struct {
		plugin.Finding
		vfs []string
	}
	var groups []group
	for i := range found.VFs {
		v := &found.VFs[i]
		err := v.obstacle(root, o)
		if err == nil {
			continue
		}
		where := v.path()
		if v.PF != nil {
			where = v.PF.SysPath
		}
		f := vfio.Finding(where, err, vfio.Subsystem)
		// A command names the VF, and is the same for all of them but for that name.
		command := strings.ReplaceAll(f.Remedy, v.Address, "<VF>")
		at := slices.IndexFunc(groups, func(g group) bool {
			return g.Path == where && g.Reason == f.Reason && strings.ReplaceAll(g.Remedy, g.vfs[0], "<VF>") == command
		})
		if at < 0 {
			groups = append(groups, group{f, []string{v.Address}})
		} else {
			groups[at].vfs = append(groups[at].vfs, v.Address)
		}
	}
	findings := make([]plugin.Finding, 0, len(groups))
	for _, g := range groups {
		f, n := g.Finding, len(g.vfs)
		if n == 1 {
			f.Reason = fmt.Sprintf("VF %s: %s", g.vfs[0], f.Reason)
		} else {
			f.Reason = fmt.Sprintf("%d of %d VFs, %s to %s: %s", n, len(found.VFs), g.vfs[0], g.vfs[n-1], f.Reason)
			if strings.Contains(f.Remedy, g.vfs[0]) {
				f.Remedy += "; and so on"
			}
		}
		findings = append(findings, f)
	}
	return findings
}

// obstacle is why a VF is not given out now, or not as it should be.
func (v *VF) obstacle(root *hostfs.Root, o Options) error {
	if v.Err != nil {
		return v.Err
	}
	if v.bound(o.DPDKDriver) {
		_, err := v.grant(root, o.DPDKDriver, false)
		if err == nil && len(v.Beside) > 0 {
			return &vfio.Obstacle{
				Reason: "its IOMMU group is shared: who gets one of its functions can reach the others, and only one container can have it",
				Remedy: "put the card into a slot that isolates its functions (ACS)",
			}
		}
		return err
	}
	if err := vfio.Bindable(root, v.Device, o.DPDKDriver, o.takenFrom()...); err != nil {
		return err
	}
	reason := fmt.Sprintf("bound to %s, not to %s", orNone(v.Driver), o.DPDKDriver)
	if o.Bind {
		reason += "; inlay-deviceplugin binds it when it runs"
	}
	return &vfio.Obstacle{Reason: reason, Remedy: vfio.Command(v.Device, o.DPDKDriver)}
}
