package sgx

import (
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

// DefaultOptions is one a pod: PODS_PER_CORE a core where the kubelet is set up so and the variable says it, else 110.
func DefaultOptions() Options {
	limit := standardLimit
	if perCore, err := strconv.ParseUint(os.Getenv("PODS_PER_CORE"), 10, 10); err == nil && perCore > 0 {
		limit = int(perCore) * runtime.NumCPU()
	}
	return Options{EnclaveLimit: limit, ProvisionLimit: limit, EPCLimits: true, CDI: cdi.Auto}
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
