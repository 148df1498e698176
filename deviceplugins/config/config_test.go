package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/inlay-project/inlay/deviceplugins/cdi"
	"github.com/inlay-project/inlay/deviceplugins/fpga"
)

// given is a command line that was parsed.
func given(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	s := Default()
	s.AddFlags(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return f
}

// text of a test's file; "" is no file.
func text(file string) []byte {
	if file == "" {
		return nil
	}
	return []byte(file)
}

func TestWhatBeatsWhat(t *testing.T) {
	const file = `
version: v1
families: [sgx, dsa]
sgx: {enclaveLimit: 20}
dsa: {sharedDevNum: 5}
nodes:
- names: [big-*, exact]
  sgx: {enclaveLimit: 40}
- names: [big-7]
  dsa: {driver: vfio-pci}
`
	const lists = `
version: v1
families: [qat, dsa]
qat: {kernelVfDrivers: [6xxxvf, c6xxvf]}
nodes:
- names: [lab-*]
  families: [gpu]
  qat: {kernelVfDrivers: [d15xxvf]}
`
	for _, tt := range []struct {
		name, file, node string
		args             []string
		change           func(*Settings)
	}{
		{"nothing said", "", "", nil, func(*Settings) {}},
		{"the file", file, "", nil, func(s *Settings) {
			s.Families, s.SGX.EnclaveLimit, s.DSA.SharedDevNum = []string{"sgx", "dsa"}, 20, 5
		}},
		{"another node's override", file, "small-1", nil, func(s *Settings) {
			s.Families, s.SGX.EnclaveLimit, s.DSA.SharedDevNum = []string{"sgx", "dsa"}, 20, 5
		}},
		{"another node's override of a list", lists, "small-1", nil, func(s *Settings) {
			s.Families, s.QAT.KernelVFDrivers = []string{"qat", "dsa"}, []string{"6xxxvf", "c6xxvf"}
		}},
		{"an override of a list", lists, "lab-7", nil, func(s *Settings) {
			s.Families, s.QAT.KernelVFDrivers = []string{"gpu"}, []string{"d15xxvf"}
		}},
		{"an override by name", file, "exact", nil, func(s *Settings) {
			s.Families, s.SGX.EnclaveLimit, s.DSA.SharedDevNum = []string{"sgx", "dsa"}, 40, 5
		}},
		{"two overrides, one on the other", file, "big-7", nil, func(s *Settings) {
			s.Families, s.SGX.EnclaveLimit, s.DSA.SharedDevNum, s.DSA.Driver = []string{"sgx", "dsa"}, 40, 5, "vfio-pci"
		}},
		{"a flag beats both", file, "big-7", []string{"--sgx-enclave-limit=7", "--families=iaa,fpga"}, func(s *Settings) {
			s.Families, s.SGX.EnclaveLimit, s.DSA.SharedDevNum, s.DSA.Driver = []string{"iaa", "fpga"}, 7, 5, "vfio-pci"
		}},
		{"a flag that says the default", file, "", []string{"--dsa-shared-dev-num=1"}, func(s *Settings) {
			s.Families, s.SGX.EnclaveLimit = []string{"sgx", "dsa"}, 20
		}},
		{"CDI is everybody's", "version: v1\ncdi: off\n", "", nil, func(s *Settings) { s.CDI = cdi.Off }},
		{"a file of a version alone", "version: v1", "", nil, func(*Settings) {}},
		{"markers with nothing after them", "\ufeff# x\n--- # y\nversion: v1\n...\n---\n \n# z\n---", "", nil, func(*Settings) {}},
		{"a directive", "%YAML 1.1\n---\nversion: v1\n", "", nil, func(*Settings) {}},
		{"FPGA", "version: v1\nfpga: {mode: region, grant: allocate}", "", []string{"--fpga-mode=regiondevel"}, func(s *Settings) {
			s.FPGA = FPGA{Mode: fpga.ModeRegiondevel, Grant: fpga.GrantAllocate}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := Default()
			tt.change(&want)
			got, err := Read(text(tt.file), tt.node, given(t, tt.args...))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want.spread(), got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAFileWithAMistakeIsRefusedAndTheMistakeNamed(t *testing.T) {
	for _, tt := range []struct{ name, file, want string }{
		{"no YAML", "{", "yaml"},
		{"a list", "[]", "it is not a list of <field>"},
		{"null", "null", "version: missing"},
		{"a text", "v1", "it is not a list of <field>"},
		{"emptied", "", "version: missing"},
		{"an empty line", "\n", "version: missing"},
		{"a comment", "# x", "version: missing"},
		{"a marker", "---", "version: missing"},
		{"a second document", "version: v1\n---\nversion: v99\nbogus: [\n", "second document"},
		{"one after an end", "version: v1\n...\n# x\nversion: v1", "second document"},
		{"one on its marker's line", "version: v1\r\n--- {version: v1}", "second document"},
		{"one of which the first is empty", "---\n---\nversion: v1", "version: missing"},
		{"a directive's", "%YAML 1.1\n---\nversion: v1\n...\n%YAML 1.1\n---\nversion: v1", "second document"},
		{"UTF-16", "\xff\xfev\x00", "not UTF-8"},
		{"no version", "sgx: {}", "version: missing"},
		{"another version", "version: v2\nquantum: {}", `version: "v2" is unknown, this program reads v1`},
		{"a version that is a number", "version: 1", "version: 1 is no version, write version: v1"},
		{"a version that is a list", "version: [v1]", `version: ["v1"] is no version, write version: v1`},
		{"an empty version", "version: ''", "version: missing"},
		{"an unknown field", "version: v1\ngpus: {}", "gpus"},
		{"an unknown field of a family", "version: v1\nsgx: {enclaves: 3}", "enclaves"},
		{"a field in other letters", "version: v1\nsgx: {EnclaveLimit: 3}", "EnclaveLimit"},
		{"a field that is no user's", "version: v1\nsgx: {CDI: off}", "CDI"},
		{"a field twice", "version: v1\nsgx: {enclaveLimit: 3, enclaveLimit: 4}", "enclaveLimit"},
		{"a text where a list belongs", "version: v1\nqat: {kernelVfDrivers: '4xxxvf,420xxvf'}", "kernelVfDrivers"},
		{"another type", "version: v1\nsgx: {enclaveLimit: many}", "enclaveLimit"},
		{"a value that the family refuses", "version: v1\nsgx: {enclaveLimit: -3}", "sgx-enclave-limit: -3"},
		{"a family that is not there", "version: v1\nfamilies: [tpu]", `families: "tpu"`},
		{"no family", "version: v1\nfamilies: []", "families: names none"},
		{"a mode of CDI", "version: v1\ncdi: sometimes", `cdi: "sometimes"`},
		{"a mode", "version: v1\nfpga: {mode: regions}", `fpga-mode: mode "regions"`},
		{"a grant", "version: v1\nfpga: {grant: cdi}", `fpga-grant: "cdi"`},
		{"an override for nobody", "version: v1\nnodes: [{sgx: {}}]", "nodes[0]: names: missing"},
		{"an override with no pattern", "version: v1\nnodes: [{names: ['[']}]", `nodes[0]: names: "[" is no pattern`},
		{"a mistake in another node's override", "version: v1\nnodes: [{names: [a]}, {names: [b], dsa: {sharedDevNum: 0}}]", "nodes[1]: dsa-shared-dev-num: 0"},
		{"overrides that are no list", "version: v1\nnodes: {names: [a]}", "nodes: it is not a list"},
		{"a version within an override", "version: v1\nnodes: [{names: [a], version: v1}]", "version"},
		{"endless", "version: v1\n" + strings.Repeat("#", MaxFile), "larger than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Read([]byte(tt.file), "node", nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if d := cmp.Diff(Settings{}, got); d != "" {
				t.Errorf("something was taken all the same: %s", d)
			}
		})
	}
	if _, err := Read(nil, "", given(t, "--cdi=x")); err == nil || !strings.HasPrefix(err.Error(), `--cdi: "x"`) {
		t.Errorf("a flag's mistake: %v", err)
	}
}

func TestTheEffectiveConfigurationReadsBack(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		args       []string
	}{
		{"defaults", "", nil},
		{"numbers, and a flag", "version: v1\nsgx: {enclaveLimit: 3}\nfamilies: [sgx, fpga]", []string{"--dsa-driver=vfio-pci"}},
		{"QAT, by the file", "version: v1\nqat: {kernelVfDrivers: [6xxxvf, c6xxvf], maxNumDevices: 3, allocationPolicy: packed, bind: false}", nil},
		{"QAT, by flags", "", []string{"--qat-kernel-vf-drivers=6xxxvf,c6xxvf", "--qat-dpdk-driver=igb_uio"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want, err := Read(text(tt.file), "", given(t, tt.args...))
			if err != nil {
				t.Fatal(err)
			}
			back, err := want.YAML()
			if err != nil {
				t.Fatal(err)
			}
			got, err := Read(back, "node", nil)
			if d := cmp.Diff(want, got); err != nil || d != "" {
				t.Errorf("%v\n%s\n%s", err, d, back)
			}
		})
	}
}

func TestFamilies(t *testing.T) {
	for _, tt := range []struct {
		families, want string
	}{
		{"auto", strings.Join(Known(), ",")},
		{"iaa, fpga ,iaa", "fpga,iaa"},
		{"sgx,auto", strings.Join(Known(), ",")},
	} {
		got, err := Settings{Families: strings.Split(tt.families, ",")}.Offered()
		if err != nil || strings.Join(got, ",") != tt.want {
			t.Errorf("%s: %v, %v", tt.families, got, err)
		}
	}
}

func FuzzFile(f *testing.F) {
	f.Add("version: v1\nfamilies: [sgx]\nnodes: [{names: ['a*'], sgx: {enclaveLimit: 1}}]")
	f.Add("version: v1\nsgx: {enclaveLimit: 1e3}")
	f.Add("{")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Read([]byte(text), "a1", nil)
		if err != nil {
			return
		}
		if err := s.Validate(); err != nil {
			t.Errorf("taken and not valid: %v", err)
		}
		back, err := s.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Read(back, "", nil)
		if d := cmp.Diff(s, again); err != nil || d != "" {
			t.Errorf("%v\n%s", err, d)
		}
	})
}
