package fpga

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/fpga/region"
	"github.com/inlay-project/inlay/internal/podresources"
	"github.com/inlay-project/inlay/internal/record"
)

// Domain is the vendor's part of the resource names.
const Domain = "fpga.intel.com/"

const (
	modeAF          = "af"
	modeRegion      = "region"
	modeRegiondevel = "regiondevel"
)

// device is an allocated device as this host has it now.
type device struct {
	record.Device
	resource string
	fme      *fpga.FME
	af       fpga.FunctionID // the function that an af resource is named for, "" for a region
}

// findDevices looks every device of the record up and checks that it is what was allocated: the kubelet answers from
// memory when a container restarts, and a node's cards may have been numbered anew since.
func (a *Adjuster) findDevices(_ context.Context, r *request) error {
	for _, allocation := range r.allocations {
		iface, afu, err := ids(allocation.Resource)
		if err != nil {
			return fmt.Errorf("allocation record: %w", err)
		}
		for _, d := range allocation.Devices {
			fme, err := card.FindFME(a.c.Root, d.ID)
			if errors.Is(err, fpga.ErrNoDevice) {
				return fmt.Errorf("allocated device %s is not there now: %w", d.ID, err)
			}
			if err != nil {
				return fmt.Errorf("allocated device: %w", err)
			}
			if err := region.CheckIdentity(fme, d.Address, iface); err != nil {
				return fmt.Errorf("allocated device %s is not what it was: %w; delete the pod", d.ID, err)
			}
			if isPort := card.IsPort(d.ID); isPort != (afu != "") {
				return fmt.Errorf("allocation record: %s is no device of %s", d.ID, allocation.Resource)
			}
			r.devices = append(r.devices, device{
				Device: d, resource: Domain + allocation.Resource, fme: fme, af: fpga.FunctionID(afu),
			})
		}
	}
	return nil
}

func ids(resource string) (fpga.InterfaceID, fpga.AFUID, error) {
	if i, afu, err := fpga.ParseAFResource(resource); err == nil {
		return i, afu, nil
	}
	i, err := fpga.ParseRegionResource(resource)
	return i, "", err
}

// askKubelet compares the record with what the kubelet says now. That stops a record that came from a user's image,
// by way of a restored checkpoint, too.
func (a *Adjuster) askKubelet(ctx context.Context, r *request) error {
	if a.c.Kubelet == nil {
		return nil
	}
	l, err := a.c.Kubelet.List(ctx)
	if err != nil {
		return fmt.Errorf("whose the devices are cannot be checked: %w", err)
	}
	for _, d := range r.devices {
		if err := heldByOthers(l, r, d); err != nil {
			return err
		}
	}
	ns, pod, name := r.pod.GetNamespace(), r.pod.GetName(), r.ctr.GetName()
	if !l.Known(ns, pod, name) {
		return nil // an init container, or a runtime that does not tell names: that no other pod has it must do
	}
	return sameAsListed(l, r)
}

// heldByOthers refuses a device that another pod has under the same name; a physical port under another resource name
// counts too.
func heldByOthers(l *podresources.Listing, r *request, d device) error {
	for _, h := range l.Holdings {
		if h.Namespace == r.pod.GetNamespace() && h.Pod == r.pod.GetName() {
			continue
		}
		for _, id := range h.Devices {
			if len(h.Resource) > len(Domain) && h.Resource[:len(Domain)] == Domain && overlaps(d, id) {
				return fmt.Errorf("device %s is held by pod %s/%s as %s", id, h.Namespace, h.Pod, h.Resource)
			}
		}
	}
	return nil
}

// overlaps tells whether a device id names the same hardware: the device itself, a region's port, or a port's FME.
func overlaps(d device, id string) bool {
	if id == d.ID {
		return true
	}
	if d.af != "" {
		return id == d.fme.Name
	}
	_, isPort := d.fme.Port(id)
	return isPort
}

// sameAsListed compares, resource by resource, what the kubelet lists for the container with the record.
func sameAsListed(l *podresources.Listing, r *request) error {
	listed, recorded := map[string][]string{}, map[string][]string{}
	for _, h := range l.Holdings {
		if h.Namespace == r.pod.GetNamespace() && h.Pod == r.pod.GetName() && h.Container == r.ctr.GetName() {
			listed[h.Resource] = append(listed[h.Resource], h.Devices...)
		}
	}
	for _, d := range r.devices {
		recorded[d.resource] = append(recorded[d.resource], d.ID)
	}
	for resource, want := range recorded {
		got := slices.Clone(listed[resource])
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			return fmt.Errorf("the kubelet lists %v of %s for this container, its allocation record %v", got, resource, want)
		}
	}
	return nil
}
