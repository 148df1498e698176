package sgx

import (
	"context"
	"slices"
	"strings"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// Diagnose implements plugin.Diagnoser.
func (f *Family) Diagnose(context.Context) []plugin.Finding {
	root, o := f.c.Root, f.settings()
	var findings []plugin.Finding
	_, skipped := Discover(root, o)
	for _, s := range skipped {
		findings = append(findings, plugin.Finding{Path: s.Path, Reason: s.Reason, Remedy: remedy(s)})
	}
	switch flags := cpuFlags(root); {
	case len(findings) > 0 || check(root, enclave) == nil:
	case !slices.Contains(flags, "sgx"):
		// A processor without SGX, or one where the firmware has it off: the flag is gone in both cases.
	case !slices.Contains(flags, "sgx_lc"):
		findings = append(findings, plugin.Finding{
			Path: cpuInfo, Reason: "the processor has SGX, but the firmware locks the launch control (no flag sgx_lc): the kernel's driver does not start",
			Remedy: "set SGX Launch Control (Flexible Launch Control) to unlocked in the firmware's setup",
		})
	default:
		findings = append(findings, plugin.Finding{
			Path: enclave, Reason: "the processor has SGX, but the driver made no node: the kernel was built without CONFIG_X86_SGX, or the firmware gives no EPC",
			Remedy: "dmesg | grep -i sgx",
		})
	}
	if o.EnclaveLimit == 0 {
		findings = append(findings, plugin.Finding{Path: enclave, Reason: "sgx-enclave-limit is 0", Remedy: "--sgx-enclave-limit 110"})
	}
	return findings
}

func remedy(s plugin.Skipped) string {
	if strings.HasPrefix(s.Path, Domain) {
		return "--cdi auto"
	}
	return plugin.Remedy(s.Reason, "misc")
}

const cpuInfo = "/proc/cpuinfo"

// cpuFlags gives the flags of the first processor; none where they cannot be read.
func cpuFlags(root *hostfs.Root) []string {
	text, err := root.ReadFile(cpuInfo)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		if name, flags, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "flags" {
			return strings.Fields(flags)
		}
	}
	return nil
}
