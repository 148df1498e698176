package fpga

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

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
		iface, afu, err := fpga.ParseResource(allocation.Resource)
		if err != nil {
			return fmt.Errorf("allocation record: %w", err)
		}
		for _, d := range allocation.Devices {
			if isPort := card.IsPort(d.ID); isPort != (afu != "") {
				return fmt.Errorf("allocation record: %s is no device of %s", d.ID, allocation.Resource)
			}
			fme, err := a.find(d, iface)
			if err != nil {
				return fmt.Errorf("allocated device %s: %w", d.ID, err)
			}
			r.devices = append(r.devices, device{
				Device: d, resource: Domain + allocation.Resource, fme: fme, af: fpga.FunctionID(afu),
			})
		}
	}
	return nil
}

// find reads a device. That it does not answer may pass; that it is another one now will not, for the kubelet repeats
// its answer as long as the pod lives.
func (a *Adjuster) find(d record.Device, iface fpga.InterfaceID) (*fpga.FME, error) {
	fme, err := card.FindFME(a.c.Root, d.ID)
	switch {
	case errors.Is(err, fpga.ErrNoDevice):
		return nil, fmt.Errorf("it is not there now: %w", err)
	case err != nil:
		return nil, err
	case fme.InterfaceErr != nil:
		return nil, fmt.Errorf("interface id of %s: %w", fme.Name, fme.InterfaceErr)
	case fme.Interface.AllOnes():
		return nil, fmt.Errorf("interface id of %s reads as all ones: the card does not answer", fme.Name)
	}
	if err := region.CheckIdentity(fme, d.Address, iface); err != nil {
		return nil, fmt.Errorf("it is another one now: %w; delete the pod, so that a device is allocated anew", err)
	}
	return fme, nil
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
			if strings.HasPrefix(h.Resource, Domain) && overlaps(d, id) {
				return fmt.Errorf("allocated device %s: the kubelet says that pod %s/%s holds %s, as %s", d.ID, h.Namespace, h.Pod, id, h.Resource)
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
		if !strings.HasPrefix(h.Resource, Domain) {
			continue
		}
		if h.Namespace == r.pod.GetNamespace() && h.Pod == r.pod.GetName() && h.Container == r.ctr.GetName() {
			listed[h.Resource] = append(listed[h.Resource], h.Devices...)
		}
	}
	for _, d := range r.devices {
		recorded[d.resource] = append(recorded[d.resource], d.ID)
	}
	for _, resource := range slices.Sorted(maps.Keys(listed)) {
		if recorded[resource] == nil {
			return fmt.Errorf("the kubelet lists %v of %s for this container, its allocation record has none", listed[resource], resource)
		}
	}
	for _, resource := range slices.Sorted(maps.Keys(recorded)) {
		got, want := slices.Sorted(slices.Values(listed[resource])), slices.Sorted(slices.Values(recorded[resource]))
		if !slices.Equal(got, want) {
			return fmt.Errorf("the kubelet lists %v of %s for this container, its allocation record %v", got, resource, want)
		}
	}
	return nil
}
