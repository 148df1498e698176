package idxd

import (
	"context"
	"fmt"
	"strings"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/vfio"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// Diagnose implements plugin.Diagnoser: what the scans skip, and what they pass over in silence because it is how somebody
// may want it: no driver, no queue configured, queues that are disabled or the kernel's.
func (f *Family) Diagnose(context.Context) []plugin.Finding {
	o := f.configured()
	root := f.c.Root
	inv := Discover(root, f.kind, o)
	findings := inv.findings
	if o.Driver == DriverVFIO {
		if o.SharedDevNum > 1 {
			findings = append(findings, plugin.Finding{
				Path: "--" + f.Name() + "-shared-dev-num", Reason: "it means nothing to " + string(DriverVFIO),
				Remedy: "leave it out",
			})
		}
		return append(findings, asFindings(inv.Notes)...)
	}
	devices, _ := readBus(root, f.kind) // an error is among the findings
	findings = append(findings, withoutDriver(root, f.kind, devices)...)
	for _, d := range devices {
		if d.err == nil {
			findings = append(findings, ofDevice(root, d)...)
		}
	}
	return append(findings, asFindings(inv.Notes)...)
}

// PassedOver are the queues that are enabled and not offered because the kernel has them: for a person who looks, where a
// scan has nothing to skip.
func (f *Family) PassedOver(context.Context) (list []plugin.Skipped) {
	if f.configured().Driver == DriverVFIO {
		return nil
	}
	devices, _ := readBus(f.c.Root, f.kind) // an error is among what the scan skips
	for _, d := range devices {
		for _, q := range d.queues {
			if d.err == nil && q.unfit() == nil && q.state == stateEnabled && q.isKernels() {
				list = append(list, plugin.Skipped{Path: q.dir, Reason: q.kernels()})
			}
		}
	}
	return list
}

func (q queue) isKernels() bool { return q.kind != typeUser && q.kind != "" && q.kind != "none" }

func (q queue) kernels() string {
	return fmt.Sprintf("its type is %.40q: the kernel has it, and there is nothing for a container", q.kind)
}

func asFindings(notes []plugin.Skipped) []plugin.Finding {
	var findings []plugin.Finding
	for _, n := range notes {
		findings = append(findings, plugin.Finding{Path: n.Path, Reason: n.Reason, Remedy: plugin.Remedy(n.Reason, "")})
	}
	return findings
}

// withoutDriver finds the kind's PCI functions that the driver idxd does not show.
func withoutDriver(root *hostfs.Root, kind Kind, devices []device) []plugin.Finding {
	shown := map[string]bool{}
	for _, d := range devices {
		shown[d.address(root)] = true
	}
	var findings []plugin.Finding
	functions, notes := findFunctions(root, kind)
	for _, f := range functions {
		if shown[f.Address] {
			continue
		}
		finding := plugin.Finding{Path: vfio.Devices + "/" + f.Address}
		d, err := vfio.Look(root, f.Address)
		switch loaded := root.Exists(vfio.Drivers + "/" + string(DriverIDXD)); {
		case err != nil:
			finding = vfio.Finding(finding.Path, unreadable("it", err), subsystem)
		case !loaded && d.Driver == "":
			finding.Reason, finding.Remedy = "it has no driver: the module idxd is not loaded", "modprobe idxd"
		case vfio.IsDriver(d.Driver):
			finding.Reason = fmt.Sprintf("its driver is %s, and work queues are wanted", d.Driver)
			finding.Remedy = fmt.Sprintf("--%s-driver %s; or, if nobody uses it there: %s", kind, DriverVFIO, bindCommand(d, string(DriverIDXD)))
		case d.Driver == string(DriverIDXD):
			finding.Reason, finding.Remedy = "the driver idxd has it and does not show it", "dmesg | grep idxd"
		case d.Driver == "":
			finding.Reason, finding.Remedy = "it has no driver", bindCommand(d, string(DriverIDXD))
		default:
			finding.Reason, finding.Remedy = "its driver is "+d.Driver+", not idxd", bindCommand(d, string(DriverIDXD))
		}
		findings = append(findings, finding)
	}
	return append(findings, asFindings(notes)...)
}

// ofDevice tells why a device offers less than it could.
func ofDevice(root *hostfs.Root, d device) []plugin.Finding {
	var findings []plugin.Finding
	add := func(path, remedy, format string, args ...any) {
		findings = append(findings, plugin.Finding{Path: path, Reason: fmt.Sprintf(format, args...), Remedy: remedy})
	}
	var disabled, enabled []queue
	unread := false
	for _, q := range d.queues {
		switch {
		case q.err != nil:
			unread = true // it may be configured
		case q.state == stateEnabled:
			enabled = append(enabled, q)
			if q.isKernels() {
				add(q.dir, reconfigure(d, q), "%s", q.kernels())
			}
		case isConfigured(root, q):
			disabled = append(disabled, q)
		}
	}
	switch {
	case d.state == stateHalted:
		reset := "reboot"
		if address := d.address(root); address != "" {
			reset = fmt.Sprintf("echo 1 > %s/%s/reset, then configure it again; if it halts again: the kernel's log", vfio.Devices, address)
		}
		add(d.dir, reset, "the hardware has halted%s", lastStatus(root, d))
	case len(enabled)+len(disabled) == 0 && !unread:
		add(d.dir, "accel-config load-config -e -c FILE, or accel-config config-user-default", "no work queue is configured")
	case d.state == stateDisabled:
		add(d.dir, "accel-config enable-device "+d.name, "it is disabled%s", lastStatus(root, d))
	}
	if on, err := root.ReadAttr(d.dir + "/pasid_enabled"); err == nil && on == "0" {
		add(d.dir, "boot with intel_iommu=on,sm_on", "shared virtual memory is off, and without it no queue of type user can be enabled")
	}
	for _, q := range disabled {
		add(q.dir, "accel-config enable-wq "+d.name+"/"+q.name, "it is configured, and its state is %.40q%s", q.state, lastStatus(root, d))
	}
	return findings
}

// isConfigured tells whether somebody has given the queue a place in a group. An unused one has size 0 and group -1.
func isConfigured(root *hostfs.Root, q queue) bool {
	size, err := root.ReadAttr(q.dir + "/size")
	group, errGroup := root.ReadAttr(q.dir + "/group_id")
	return (err == nil || errGroup == nil) && size != "0" && group != "-1"
}

// lastStatus is the error of the last command to a device, which is where the driver tells why it did not enable something.
func lastStatus(root *hostfs.Root, d device) string {
	status, err := root.ReadAttr(d.dir + "/cmd_status")
	if err != nil || strings.Trim(strings.TrimPrefix(status, "0x"), "0") == "" {
		return ""
	}
	return fmt.Sprintf(" (cmd_status %.20q)", status)
}

// reconfigure is how a queue of the kernel becomes one for user space.
func reconfigure(d device, q queue) string {
	return fmt.Sprintf("if the kernel need not have it: accel-config disable-wq %s/%s, then configure it with --type=user --driver-name=user",
		d.name, q.name)
}
