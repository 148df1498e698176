package qat

import (
	"slices"
	"strings"
)

// Domain begins the names of this family's resources.
const Domain = "qat.intel.com/"

// kind is one kind of QAT card: its drivers and PCI ids.
type kind struct {
	vfDriver, pfDriver string
	module             string // of the PF's driver
	pfIDs, vfIDs       []string
	// services says that the card can be configured for services, which then name the resource. Older ones do all.
	services bool
}

// kinds are all that the drivers know, by VF driver.
func kinds() []kind {
	return []kind{
		{"dh895xccvf", "dh895xcc", "qat_dh895xcc", []string{"0x0434", "0x0435"}, []string{"0x0442", "0x0443"}, false},
		{"c6xxvf", "c6xx", "qat_c62x", []string{"0x37c8"}, []string{"0x37c9"}, false},
		{"c3xxxvf", "c3xxx", "qat_c3xxx", []string{"0x19e2"}, []string{"0x19e3"}, false},
		{"d15xxvf", "d15xx", "qat_d15xx", []string{"0x6f54"}, []string{"0x6f55"}, false},
		{"c4xxxvf", "c4xxx", "qat_c4xxx", []string{"0x18a0"}, []string{"0x18a1"}, false},
		{"4xxxvf", "4xxx", "qat_4xxx", []string{"0x4940", "0x4942", "0x4944"}, []string{"0x4941", "0x4943", "0x4945"}, true},
		{"420xxvf", "420xx", "qat_420xx", []string{"0x4946"}, []string{"0x4947"}, true},
		{"6xxxvf", "6xxx", "qat_6xxx", []string{"0x4948"}, []string{"0x4949"}, true},
	}
}

// vfDrivers are the names that --qat-kernel-vf-drivers takes.
func vfDrivers() []string {
	var names []string
	for _, k := range kinds() {
		names = append(names, k.vfDriver)
	}
	return names
}

// enabled are the kinds that the options name, in their order.
func (o Options) enabled() []kind {
	var out []kind
	all := kinds()
	for _, name := range o.KernelVFDrivers {
		name = strings.TrimSpace(name)
		i := slices.IndexFunc(all, func(k kind) bool { return k.vfDriver == name })
		if i >= 0 && !slices.ContainsFunc(out, func(k kind) bool { return k.vfDriver == name }) {
			out = append(out, all[i])
		}
	}
	return out
}
