package sgx

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

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
	if len(findings) == 0 && check(root, enclave) != nil {
		return append(findings, withoutDriver(root)...)
	}
	if !root.Exists(enclave) || !root.Exists(provision) {
		return findings
	}
	for _, limit := range []struct {
		flag, node string
		value      int
	}{{"sgx-enclave-limit", enclave, o.EnclaveLimit}, {"sgx-provision-limit", provision, o.ProvisionLimit}} {
		if limit.value == 0 {
			findings = append(findings, plugin.Finding{
				Path: limit.node, Reason: limit.flag + " is 0", Remedy: fmt.Sprintf("--%s %d", limit.flag, standardLimit),
			})
		}
	}
	return findings
}

// withoutDriver tells what a processor with SGX lacks where there are no nodes.
func withoutDriver(root *hostfs.Root) []plugin.Finding {
	flags, err := cpuFlags(root)
	switch {
	case err != nil:
		return []plugin.Finding{{
			Path: cpuInfo, Reason: fmt.Sprintf("there are no nodes of SGX, and whether the processor has it cannot be told: %v", err),
			Remedy: "let this process see the host's " + cpuInfo,
		}}
	case !slices.Contains(flags, "sgx"):
		return nil // a processor without SGX, or one where the firmware has it off: the flag is gone in both cases
	case !slices.Contains(flags, "sgx_lc"):
		return []plugin.Finding{{
			Path: cpuInfo, Reason: "the processor has SGX, but the firmware locks the launch control (no flag sgx_lc): the kernel's driver does not start",
			Remedy: "set SGX Launch Control (Flexible Launch Control) to unlocked in the firmware's setup",
		}}
	}
	return []plugin.Finding{{
		Path: enclave, Reason: "the processor has SGX, but the driver made no node: the kernel was built without CONFIG_X86_SGX, or the firmware gives no EPC",
		Remedy: "dmesg | grep -i sgx",
	}}
}

func remedy(s plugin.Skipped) string {
	if strings.HasPrefix(s.Path, Domain) {
		return "--cdi auto"
	}
	return plugin.Remedy(s.Reason, "misc")
}

const cpuInfo = "/proc/cpuinfo"

// cpuFlags gives the flags of the first processor; none where it has no such line, as on arm64. The file grows with the
// processors, beyond what hostfs reads as a whole, and the first one says enough.
func cpuFlags(root *hostfs.Root) ([]string, error) {
	f, err := root.Open(cpuInfo, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return nil, err
	} else if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", root.Join(cpuInfo))
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name, flags, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "flags" {
			return strings.Fields(flags), nil
		}
	}
	return nil, lines.Err()
}
