package plugin

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// Health of a Device, in the kubelet's words.
const (
	Healthy   = v1beta1.Healthy
	Unhealthy = v1beta1.Unhealthy
)

// Device is one unit of a resource. Devices are values: the engine and a Family never change one that the other holds.
type Device struct {
	// ID names the device within its resource: 1 to 63 bytes. It outlives the process, because the kubelet keeps it.
	ID string
	// Health is Healthy or Unhealthy; empty is Healthy. An unhealthy device stays in the list and is never given out.
	Health string
	// Reason says in words why the device is unhealthy.
	Reason string
	// NUMA nodes of the device. Nil is that they are not known, an empty list that it has none; the kubelet gets no topology
	// in either case.
	NUMA []int
	// Grant is what a container gets with this device.
	Grant Grant
}

// Grant is what one device adds to a container. All host paths are the host's, whatever the process' own view is.
type Grant struct {
	Nodes       []Node
	Mounts      []Mount
	Env         map[string]string
	Annotations map[string]string
	CDI         []string // fully qualified CDI device names
}

// Node is a device node given to a container. Permissions is a subset of "rwm", empty is "rw".
type Node struct{ HostPath, ContainerPath, Permissions string }

// Mount is a bind mount given to a container.
type Mount struct {
	HostPath, ContainerPath string
	ReadOnly                bool
}

// Inventory is all that a family found: full resource name ("fpga.intel.com/region-…") to devices. A name without
// devices counts as not there.
type Inventory map[string][]Device

// Skipped is something that is there but cannot be offered, and why.
type Skipped struct{ Path, Reason string }

func (s Skipped) String() string { return s.Path + ": " + s.Reason }

// maxDeviceID is the API's limit for a device id.
const maxDeviceID = 63

// normalize checks a family's devices and puts them into the engine's form: sorted by id, health spelled out. What the
// kubelet would not take is left out with a reason; it takes nothing else down.
func normalize(resource string, in []Device) (out []Device, skipped []Skipped) {
	out = slices.Clone(in)
	slices.SortStableFunc(out, func(a, b Device) int { return strings.Compare(a.ID, b.ID) })
	kept := out[:0]
	for _, d := range out {
		if d.Health == "" {
			d.Health = Healthy
		}
		var reason string
		switch {
		case d.ID == "":
			reason = "device without id"
		case !utf8.ValidString(d.ID):
			reason = "device id is not UTF-8"
		case len(d.ID) > maxDeviceID:
			reason = fmt.Sprintf("device id of %d bytes, the kubelet takes %d", len(d.ID), maxDeviceID)
		case d.Health != Healthy && d.Health != Unhealthy:
			reason = fmt.Sprintf("health %q is neither %s nor %s", d.Health, Healthy, Unhealthy)
		case len(kept) > 0 && kept[len(kept)-1].ID == d.ID:
			reason = "device id is there twice"
		default:
			kept = append(kept, d)
			continue
		}
		skipped = append(skipped, Skipped{Path: resource + " " + d.ID, Reason: reason})
	}
	return kept, skipped
}

// Offerable is what the engine offers of a family's inventory: devices sorted by id, with their health spelled out. What the
// kubelet would not take is told in skipped.
func Offerable(inv Inventory) (offered Inventory, skipped []Skipped) {
	offered = make(Inventory, len(inv))
	for _, name := range slices.Sorted(maps.Keys(inv)) {
		devices, more := normalize(name, inv[name])
		skipped = append(skipped, more...)
		if len(devices) == 0 {
			continue
		}
		if err := checkResourceName(name); err != nil {
			skipped = append(skipped, Skipped{Path: name, Reason: err.Error()})
			continue
		}
		offered[name] = devices
	}
	return offered, skipped
}

// checkResourceName applies the kubelet's rules for an extended resource, so that a name which it would refuse for ever
// is reported once instead.
func checkResourceName(name string) error {
	domain, kind, ok := strings.Cut(name, "/")
	switch {
	case !ok || !isName(domain, 253-len("requests."), false) || strings.Contains(domain, ".."):
		return fmt.Errorf("resource name %q: no DNS domain before the slash", name)
	case !isName(kind, 63, true):
		return fmt.Errorf("resource name %q: after the slash 1 to 63 letters, digits, '-', '_' or '.' are needed, with a letter or digit at both ends", name)
	case domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io") || strings.HasPrefix(name, "requests."):
		return fmt.Errorf("resource name %q: Kubernetes keeps this domain for itself", name)
	}
	return nil
}

// isName: 1 to most bytes, alphanumeric at both ends; upper case and '_' only where a qualified name's second half
// allows them.
func isName(s string, most int, qualified bool) bool {
	for i, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case qualified && c >= 'A' && c <= 'Z':
		case i > 0 && i < len(s)-1 && (c == '-' || c == '.' || qualified && c == '_'):
		default:
			return false
		}
	}
	return s != "" && len(s) <= most
}

// equal reports whether two devices are the same in all that the kubelet or a container gets.
func (d Device) equal(o Device) bool {
	return d.listed(o) && d.Reason == o.Reason &&
		slices.Equal(d.Grant.Nodes, o.Grant.Nodes) && slices.Equal(d.Grant.Mounts, o.Grant.Mounts) &&
		slices.Equal(d.Grant.CDI, o.Grant.CDI) &&
		maps.Equal(d.Grant.Env, o.Grant.Env) && maps.Equal(d.Grant.Annotations, o.Grant.Annotations)
}

// listed reports whether two devices look the same in ListAndWatch.
func (d Device) listed(o Device) bool {
	return d.ID == o.ID && d.Health == o.Health && (d.NUMA == nil) == (o.NUMA == nil) && slices.Equal(d.NUMA, o.NUMA)
}
