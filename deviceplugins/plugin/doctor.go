package plugin

import "context"

// Diagnoser is a Family that can say why it offers nothing, or less than there is.
type Diagnoser interface {
	// Diagnose looks at the host once and writes nothing. No finding means that nothing is amiss, which includes a
	// host without any device of the kind.
	Diagnose(ctx context.Context) []Finding
}

// Finding is one reason why devices are not offered, for a person at a terminal.
type Finding struct {
	// Path is where it was seen on the host: a device, a module, a folder.
	Path string `json:"path"`
	// Reason is what is wrong, in words: "2 of 16 VFs are bound to 4xxxvf, not to vfio-pci".
	Reason string `json:"reason"`
	// Remedy is the command or setting that would help: "modprobe idxd". Empty where nothing can be done on the host.
	Remedy string `json:"remedy,omitempty"`
}
