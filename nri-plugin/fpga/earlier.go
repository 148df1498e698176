package fpga

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/nri/pkg/api"

	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/internal/record"
)

// refuseEarlier refuses a container that comes with nodes of cards which its allocation record does not explain: the
// device plugin that was on the node before put them into its answer, and the kubelet repeats that answer whenever a
// container of the pod restarts. Nobody has checked what those ports hold, or programmed them.
func (a *Adjuster) refuseEarlier(_ context.Context, r *request) error {
	if unconfined(r.ctr) {
		return nil
	}
	for _, d := range r.ctr.GetLinux().GetDevices() {
		if name, ok := cardNode(d.GetPath()); ok && !r.allocated(name) {
			return fmt.Errorf("%s: %s", d.GetPath(), record.Earlier)
		}
	}
	return nil
}

// allocated tells whether a node is one of an allocated device: with --fpga-grant allocate Allocate gives them.
func (r *request) allocated(name string) bool {
	for _, d := range r.devices {
		if name == d.fme.Name {
			return true
		}
		if _, ok := d.fme.Port(name); ok {
			return true
		}
	}
	return false
}

// hasCardNodes tells whether the runtime was told to give the container nodes of cards. Where it was not, this allocates
// nothing; an ordinary container has no list of devices at all.
func hasCardNodes(ctr *api.Container) bool {
	for _, d := range ctr.GetLinux().GetDevices() {
		if _, ok := cardNode(d.GetPath()); ok {
			return !unconfined(ctr)
		}
	}
	return false
}

// unconfined tells whether the container may use every device of the host: a privileged one, whose list holds all of
// them whatever was allocated.
func unconfined(ctr *api.Container) bool {
	for _, rule := range ctr.GetLinux().GetResources().GetDevices() {
		kind, access := rule.GetType(), rule.GetAccess()
		if rule.GetAllow() && (kind == "" || kind == "a") && rule.GetMajor() == nil && rule.GetMinor() == nil &&
			strings.Contains(access, "r") && strings.Contains(access, "w") {
			return true
		}
	}
	return false
}

// cardNode gives the name of a port or FME by its node's path.
func cardNode(path string) (name string, ok bool) {
	name, ok = strings.CutPrefix(path, "/dev/")
	if !ok || !strings.HasPrefix(name, "dfl-") && !strings.HasPrefix(name, "intel-fpga-") {
		return "", false
	}
	_, ok = card.DriverOf(name)
	return name, ok
}
