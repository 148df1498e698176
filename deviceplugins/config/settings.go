package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/inlay-project/inlay/deviceplugins/cdi"
	"github.com/inlay-project/inlay/deviceplugins/dlb"
	"github.com/inlay-project/inlay/deviceplugins/fpga"
	"github.com/inlay-project/inlay/deviceplugins/gpu"
	"github.com/inlay-project/inlay/deviceplugins/idxd"
	"github.com/inlay-project/inlay/deviceplugins/npu"
	"github.com/inlay-project/inlay/deviceplugins/qat"
	"github.com/inlay-project/inlay/deviceplugins/sgx"
)

// Auto among Families is every family of this build.
const Auto = "auto"

// Settings is all that can be set, family by family; the fields' tags are the file's names. The zero value is not valid,
// Default is.
type Settings struct {
	// Families are offered; of the others nothing is, as if their hardware were not there. What they have written for the
	// containers of pods that still run stays.
	Families []string `json:"families"`
	// CDI is by which way containers get what they get.
	CDI  cdi.Mode     `json:"cdi"`
	FPGA FPGA         `json:"fpga"`
	GPU  gpu.Options  `json:"gpu"`
	NPU  npu.Options  `json:"npu"`
	QAT  qat.Options  `json:"qat"`
	SGX  sgx.Options  `json:"sgx"`
	DSA  idxd.Options `json:"dsa"`
	IAA  idxd.Options `json:"iaa"`
	DLB  dlb.Options  `json:"dlb"`
}

// FPGA is what can be set of FPGAs. The node's annotation beats the mode.
type FPGA struct {
	Mode  fpga.Mode  `json:"mode"`
	Grant fpga.Grant `json:"grant"`
}

// Known lists the families of this build, in the order in which they are named to users.
func Known() []string { return []string{"fpga", "gpu", "npu", "qat", "sgx", "dsa", "iaa", "dlb"} }

// Default is what holds where nobody has said anything.
func Default() Settings {
	return Settings{
		Families: []string{Auto}, CDI: cdi.Auto,
		FPGA: FPGA{Mode: fpga.ModeAF, Grant: fpga.GrantNRI},
		GPU:  gpu.DefaultOptions(), NPU: npu.DefaultOptions(), QAT: qat.DefaultOptions(), SGX: sgx.DefaultOptions(),
		DSA: idxd.DefaultOptions(), IAA: idxd.DefaultOptions(), DLB: dlb.DefaultOptions(),
	}
}

// AddFlags defines the flags. What s holds are the defaults, and what is parsed goes to s.
func (s *Settings) AddFlags(f *pflag.FlagSet) {
	f.StringSliceVar(&s.Families, "families", s.Families, "device families, comma list; auto = all")
	f.StringVar((*string)(&s.CDI), "cdi", string(s.CDI),
		"auto = CDI only for what the device plugin API cannot say; on = CDI wherever a family can; off = never")
	f.StringVar((*string)(&s.FPGA.Mode), "fpga-mode", string(s.FPGA.Mode),
		"af, region or regiondevel; the node annotation fpga.intel.com/device-plugin-mode beats it")
	f.StringVar((*string)(&s.FPGA.Grant), "fpga-grant", string(s.FPGA.Grant),
		"who gives containers their FPGA nodes: nri (inlay-nri), or allocate for runtimes without NRI")
	s.GPU.AddFlags(f)
	s.NPU.AddFlags(f)
	s.QAT.AddFlags(f)
	s.SGX.AddFlags(f)
	s.DSA.AddFlags(f, idxd.DSA)
	s.IAA.AddFlags(f, idxd.IAA)
}

// Validate gives the first setting that cannot be, by its flag.
func (s Settings) Validate() error {
	if _, err := s.Offered(); err != nil {
		return err
	}
	if _, err := cdi.ParseMode(string(s.CDI)); err != nil {
		return fmt.Errorf("cdi: %w", err)
	}
	for _, check := range []func() error{
		s.FPGA.validate, s.GPU.Validate, s.NPU.Validate, s.QAT.Validate, s.SGX.Validate,
		func() error { return s.DSA.Validate(idxd.DSA) },
		func() error { return s.IAA.Validate(idxd.IAA) },
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (f FPGA) validate() error {
	if _, err := fpga.ParseMode(string(f.Mode)); err != nil {
		return fmt.Errorf("fpga-mode: %w", err)
	}
	if f.Grant != fpga.GrantNRI && f.Grant != fpga.GrantAllocate {
		return fmt.Errorf("fpga-grant: %.40q is neither %s nor %s", string(f.Grant), fpga.GrantNRI, fpga.GrantAllocate)
	}
	return nil
}

// Offered gives the families that Families names, in the order of Known.
func (s Settings) Offered() ([]string, error) {
	want := map[string]bool{}
	for _, name := range s.Families {
		switch name = strings.TrimSpace(name); {
		case name == Auto:
			for _, known := range Known() {
				want[known] = true
			}
		case slices.Contains(Known(), name):
			want[name] = true
		default:
			return nil, fmt.Errorf("families: %.40q is none of %s, %s", name, Auto, strings.Join(Known(), ", "))
		}
	}
	if len(want) == 0 {
		return nil, fmt.Errorf("families: names none; %s is all", Auto)
	}
	return slices.DeleteFunc(Known(), func(name string) bool { return !want[name] }), nil
}

// spread gives the families what is set for all of them.
func (s Settings) spread() Settings {
	s.GPU.CDI, s.SGX.CDI = s.CDI, s.CDI
	return s
}
