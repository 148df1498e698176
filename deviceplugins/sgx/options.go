package sgx

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/inlay-project/inlay/deviceplugins/cdi"
)

const (
	// standardLimit is the kubelet's default number of pods on a node.
	standardLimit = 110
	// mostContainers keeps a resource's list below what the kubelet takes in one message.
	mostContainers = 100_000
)

// Options are what a user can set; the zero value is not valid, DefaultOptions is.
type Options struct {
	// EnclaveLimit and ProvisionLimit are how many containers of the node may have /dev/sgx_enclave and
	// /dev/sgx_provision. 0 offers none.
	EnclaveLimit   int `json:"enclaveLimit"`
	ProvisionLimit int `json:"provisionLimit"`
	// DCAPInfraResources offers qe and registration too, one of each, for the services that attest the platform.
	DCAPInfraResources bool `json:"dcapInfraResources"`
	// EPCLimits keeps the pods' limits of sgx.intel.com/epc for inlay-nri. It needs the right to read the node's pods.
	EPCLimits bool `json:"epcLimits"`
	// CDI is by which way a container gets what it gets; it matters for registration alone. It is the process' setting.
	CDI cdi.Mode `json:"-"`
}

// DefaultOptions is one a pod: PODS_PER_CORE a processor where the kubelet is set up so and the variable says it, else 110.
func DefaultOptions() Options {
	limit := podsOf(os.Getenv("PODS_PER_CORE"), runtime.NumCPU())
	return Options{EnclaveLimit: limit, ProvisionLimit: limit, EPCLimits: true, CDI: cdi.Auto}
}

// podsOf is how many pods a node of so many processors has: perCore a processor, standardLimit where that is no whole
// number, and never more than can be offered. As in Intel's plugin, 0 is 0.
func podsOf(perCore string, processors int) int {
	n, err := strconv.ParseUint(perCore, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return standardLimit
	}
	return min(int(min(n, mostContainers))*processors, mostContainers)
}

// AddFlags defines the family's flags. What o holds are the defaults, and what is parsed goes to o.
func (o *Options) AddFlags(f *pflag.FlagSet) {
	f.IntVar(&o.EnclaveLimit, "sgx-enclave-limit", o.EnclaveLimit, "how many containers of the node may have /dev/sgx_enclave")
	f.IntVar(&o.ProvisionLimit, "sgx-provision-limit", o.ProvisionLimit, "how many containers of the node may have /dev/sgx_provision")
	f.BoolVar(&o.DCAPInfraResources, "sgx-dcap-infra-resources", o.DCAPInfraResources,
		"offer sgx.intel.com/qe and sgx.intel.com/registration too, for the services that attest the platform")
	f.BoolVar(&o.EPCLimits, "sgx-epc-limits", o.EPCLimits,
		"with --policy, hold enclaves to the pods' limits of sgx.intel.com/epc; needs --node-name and the right to list and watch pods")
}

// Validate tells by an error which flag holds what it must not.
func (o Options) Validate() error {
	for _, limit := range []struct {
		flag  string
		value int
	}{{"sgx-enclave-limit", o.EnclaveLimit}, {"sgx-provision-limit", o.ProvisionLimit}} {
		if limit.value < 0 || limit.value > mostContainers {
			return fmt.Errorf("%s: %d is not 0 to %d", limit.flag, limit.value, mostContainers)
		}
	}
	return nil
}
