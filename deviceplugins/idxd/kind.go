package idxd

// Kind is one of the accelerators that the kernel's idxd driver runs.
type Kind string

const (
	DSA Kind = "dsa" // Data Streaming Accelerator
	IAA Kind = "iaa" // In-Memory Analytics Accelerator; the kernel says iax
)

// facts is what tells the two kinds apart.
type facts struct {
	domain string // of the resources, with the slash
	prefix string // of the devices on the bus dsa, and the folder of the nodes below /dev
	// ids are the PCI device ids that the kernel's idxd driver lists for the kind.
	ids []string
	// denied are those of them that vfio-pci refuses by itself, for an erratum (Linux 6.10 and stable releases before).
	denied []string
}

func (k Kind) facts() facts {
	if k == IAA {
		return facts{
			domain: "iaa.intel.com/", prefix: "iax",
			ids: []string{"0x0cfe", "0x1216", "0xb02d", "0xfd2d"}, denied: []string{"0x0cfe"},
		}
	}
	return facts{
		domain: "dsa.intel.com/", prefix: "dsa",
		ids: []string{"0x0b25", "0x11fb", "0x1212"}, denied: []string{"0x0b25"},
	}
}

// resource is the full name of one of the kind's resources.
func (k Kind) resource(name string) string { return k.facts().domain + name }
