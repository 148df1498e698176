package npu

import (
	"fmt"

	"github.com/spf13/pflag"
)

// Options are what a user can set; the zero value is not valid, DefaultOptions is.
type Options struct {
	SharedDevNum int `json:"sharedDevNum"`
}

// maxShares bounds the shares of a unit: the kubelet takes lists of 4 MiB, which is some 50,000 devices.
const maxShares = 10000

// DefaultOptions are the reference's.
func DefaultOptions() Options { return Options{SharedDevNum: 1} }

// AddFlags defines the family's flags; o's present values are the defaults and what is parsed is written to o.
func (o *Options) AddFlags(f *pflag.FlagSet) {
	f.IntVar(&o.SharedDevNum, "npu-shared-dev-num", o.SharedDevNum, "how many containers may share an NPU")
}

// Validate gives one error that names the flag and what is allowed.
func (o Options) Validate() error {
	if o.SharedDevNum < 1 || o.SharedDevNum > maxShares {
		return fmt.Errorf("npu-shared-dev-num: %d is not in 1-%d", o.SharedDevNum, maxShares)
	}
	return nil
}
