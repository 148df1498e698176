// Package record is the allocation record: what Allocate writes into a container's annotations, so that whoever
// creates the container knows which devices the kubelet gave it. An FPGA is granted by it; of other families' devices,
// which Allocate hands out itself, it is what their variables and mounts are made of (the functions that end in Of).
//
// One key a resource, because the kubelet merges the answers of a container's resources and keeps one value a key:
//
//	allocated.fpga.intel.com/region-69528db6…: dfl-fme.1@0000:82:00.0
//
// The value lists devices with the PCI address of their FME, so that a record from before a reboot or a re-plug is
// told from a true one. A record is a claim, not a proof: the reader checks where the key came from and asks the
// kubelet.
package record

import (
	"fmt"
	"sort"
	"strings"

	"github.com/inlay-project/inlay/internal/pciaddr"
)

// Prefix begins the annotation key of every record; the resource type follows it.
const Prefix = stem + "fpga.intel.com/"

const stem = "allocated."

// maxValue bounds a value in bytes; the kubelet never writes more than some hundred devices.
const maxValue = 64 << 10

// Device is one allocated device.
type Device struct {
	ID      string // as the kubelet knows it: "dfl-fme.1"
	Address string // PCI address: of the FME, or of the device itself
}

// Allocation is what one resource gave a container.
type Allocation struct {
	Resource string // resource type without the vendor's domain: "region-…"
	Devices  []Device
}

// Key is the annotation key of a resource type.
func Key(resource string) string { return Prefix + resource }

// KeyFor is the annotation key of any family's resource: "qat.intel.com/cy" has "allocated.qat.intel.com/cy".
func KeyFor(resource string) string { return stem + resource }

// Value is the annotation value for the devices of one resource.
func Value(devices []Device) string {
	parts := make([]string, len(devices))
	for i, d := range devices {
		parts[i] = d.ID + "@" + d.Address
	}
	return strings.Join(parts, ",")
}

// Present tells whether annotations hold any record. It allocates nothing.
func Present(annotations map[string]string) bool {
	for key := range annotations {
		if strings.HasPrefix(key, Prefix) {
			return true
		}
	}
	return false
}

// Keys gives the record keys among annotations, sorted.
func Keys(annotations map[string]string) []string { return keys(Prefix, annotations) }

func keys(prefix string, annotations map[string]string) []string {
	var keys []string
	for key := range annotations {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	sort.Strings(keys)
	return keys
}

// PresentOf tells whether annotations hold any record of a family's domain, such as "qat.intel.com". It allocates nothing.
func PresentOf(domain string, annotations map[string]string) bool {
	for key := range annotations {
		if rest, ok := strings.CutPrefix(key, stem); ok && strings.HasPrefix(rest, domain) && strings.HasPrefix(rest[len(domain):], "/") {
			return true
		}
	}
	return false
}

// ParseOf is Parse for the records of another family's domain.
func ParseOf(domain string, annotations map[string]string) ([]Allocation, error) {
	return parse(stem+domain+"/", annotations)
}

// isDeviceID tells whether the kubelet would take s as a device's name and our families would make it: lower case
// letters, digits, dots and dashes, at most 63, or a PCI address.
func isDeviceID(s string) bool {
	if pciaddr.Valid(s) {
		return true
	}
	return s != "" && len(s) <= 63 && s[0] != '.' && s[0] != '-' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789.-") == ""
}

// Parse reads all records among annotations, sorted by resource. Anything that Value would not have written is an
// error, a device that is named twice too.
func Parse(annotations map[string]string) ([]Allocation, error) { return parse(Prefix, annotations) }

func parse(prefix string, annotations map[string]string) ([]Allocation, error) {
	var all []Allocation
	seen := map[string]string{}
	for _, key := range keys(prefix, annotations) {
		a := Allocation{Resource: strings.TrimPrefix(key, prefix)}
		value := annotations[key]
		if len(value) > maxValue {
			return nil, fmt.Errorf("allocation record %.120s: %d bytes are too many", key, len(value))
		}
		for part := range strings.SplitSeq(value, ",") {
			id, address, _ := strings.Cut(part, "@")
			if !isDeviceID(id) || !pciaddr.Valid(address) {
				return nil, fmt.Errorf("allocation record %.120s: %.80q is not <device>@<PCI address>", key, part)
			}
			if other, twice := seen[id]; twice {
				return nil, fmt.Errorf("allocation record %.120s: device %s is in %.120s too", key, id, other)
			}
			seen[id] = key
			a.Devices = append(a.Devices, Device{ID: id, Address: address})
		}
		all = append(all, a)
	}
	return all, nil
}
