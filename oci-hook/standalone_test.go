package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/fpga/bitstream/bitstreamtest"
)

func TestTheMinimalPairOfTheSpecFindsThePortThatHoldsIt(t *testing.T) {
	n := newNode(t, "dfl:afu="+nlb3).put(nlb3)
	want(t, n.hook(container{env: asks(nlb3), devices: []device{port(0)}}.state(t)), "")
	if got := n.journal(); len(got) != 1 || got[0].Device != "dfl-port.0" || got[0].Function != nlb3 || got[0].Programmed ||
		got[0].Mode != "region" || got[0].Container != "c1" || got[0].Error != "" {
		t.Errorf("journal %+v", got)
	}
}

// The rows are those of spec/fpga.md 4.4; 16 needs a card that loads something else (emulated_test.go).
func TestEachFailureIsOneLineThatNamesWhatFailed(t *testing.T) {
	good := container{env: asks(nlb3), devices: []device{port(0)}}
	write := func(name string, content []byte) func(*node) {
		return func(n *node) { n.write("srv/intel.com/fpga/"+iface+"/"+name, content) }
	}
	for _, tt := range []struct {
		row     string
		node    func(*node)
		stdin   func(t *testing.T) string
		ctr     container
		wantErr string
	}{
		{"1 not JSON", nil, text("{"), good, "OCI state on standard input: …unexpected end"},
		{"1 empty", nil, text(""), good, "OCI state on standard input: empty"},
		{"1 another type", nil, text(`{"bundle":7}`), good, "OCI state on standard input: …bundle"},
		{"1 too much", nil, text(`{"bundle":"` + strings.Repeat("x", 5<<20) + `"}`), good, "OCI state on standard input: more than"},
		{"2 no bundle", nil, text(`{"ociVersion":"1.0.2","id":"c1"}`), good, "names no bundle"},
		{"2 empty bundle", nil, text(`{"bundle":""}`), good, "names no bundle"},
		{"2 bundle that is not there", nil, text(`{"bundle":"/nonexistent/b"}`), good, "bundle: …/nonexistent/b: no such file"},
		{"2 bundle that is a file", nil, text(`{"bundle":"/proc/version"}`), good, "/proc/version is not a folder"},
		{"3 no config.json", nil, func(t *testing.T) string { return stateOf(t, t.TempDir()) }, good, "config.json: no such file"},
		{"3 config.json is no file", nil, func(t *testing.T) string {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "config.json"), 0o755); err != nil {
				t.Fatal(err)
			}
			return stateOf(t, dir)
		}, good, "config.json is not a regular file"},
		{"3 config.json is not JSON", nil, nil, container{raw: "process:\n  env"}, "config.json: invalid character 'p'"},
		{"3 config.json is empty", nil, nil, container{raw: " "}, "config.json: unexpected end"},
		{"3 a number that is none", nil, nil, container{raw: `{"linux":{"devices":[{"major":1.5}]}}`}, "config.json: …1.5"},
		{"4 no environment", nil, nil, container{devices: good.devices}, "process.env is empty"},
		{"4 no process", nil, nil, container{raw: `{"linux":{"devices":[{"path":"/dev/dfl-port.0"}]}}`}, "process.env is empty"},
		{"5 no devices", nil, nil, container{env: good.env}, "linux.devices is empty"},
		{"6 no region", nil, nil, container{env: []string{"A=b"}, devices: good.devices}, "no FPGA_REGION_n variable"},
		{"6 a function alone", nil, nil, container{env: []string{"FPGA_AFU_1=" + nlb3}, devices: good.devices}, "no FPGA_REGION_n variable"},
		{"7 no function", nil, nil, container{env: []string{"FPGA_REGION_1=" + iface}, devices: good.devices}, "no FPGA_AFU_n variable"},
		{"8 a region without its function", nil, nil, container{
			env: append(asks(nlb3), "FPGA_REGION_7="+iface), devices: good.devices,
		}, "FPGA_REGION_7 is set, FPGA_AFU_7 is not"},
		{"9 a port that is not there", nil, nil, container{env: good.env, devices: []device{port(9)}}, "dfl-port.9: no such FPGA device"},
		{
			"9 an FME without node", func(n *node) { os.Remove(n.path("dev/dfl-fme.0")) }, nil, good,
			"function " + nlb3 + ": dfl-port.0: its FME dfl-fme.0 cannot be used: open …dev/dfl-fme.0: no such file",
		},
		{
			"9 an FME without number", func(n *node) { n.set("dfl-fme.0", "dev", "none") }, nil, good,
			"function " + nlb3 + `: dfl-port.0: its FME dfl-fme.0 cannot be used: device number "none" is not major:minor`,
		},
		{"9 a port without node", func(n *node) { os.Remove(n.path("dev/dfl-port.0")) }, nil, good, "dfl-port.0: …dev/dfl-port.0: no such file"},
		{
			"10 no port of that interface", nil, nil,
			container{
				env: []string{"FPGA_REGION_1=" + other, "FPGA_AFU_1=" + nlb3}, devices: good.devices,
			},
			"function " + nlb3 + ": 0 free ports with interface " + other + "…dfl-port.0 has interface " + iface,
		},
		{"10 no port at all", nil, nil, container{env: good.env, devices: []device{{"/dev/null", "c", 1, 3}}}, "0 free ports with interface " + iface},
		{"10 one port for two functions", nil, nil, container{env: asks(nlb3, nlb0), devices: good.devices}, "1 free ports…2 functions are asked for"},
		{"11 no bitstream", nil, nil, good, "port dfl-port.0: function " + nlb3 + ": bitstream …" + nlb3 + ".gbs: not found"},
		{"11 not a bitstream", write(nlb3+".gbs", []byte("not a bitstream, but long enough")), nil, good, "port dfl-port.0: function " + nlb3 + ": bitstream …" + nlb3 + ".gbs"},
		{"11 another function inside", write(nlb3+".gbs", bitstreamtest.GBS{AFU: nlb0}.Bytes()), nil, good, "holds function \"" + nlb0 + "\", not " + nlb3},
		{"11 a folder", write(nlb3+".gbs/x", nil), nil, good, "not a regular file"},
		{"12 for another interface", write(nlb3+".gbs", bitstreamtest.GBS{Interface: other, AFU: nlb3}.Bytes()), nil, good, "is for interface " + other + ", not " + iface},
		{"13 no port number", func(n *node) { os.Remove(filepath.Join(n.sysfs("dfl-port.0"), "id")) }, nil, good, "dfl-port.0: …id: no such file"},
		{"13 no number in it", func(n *node) { n.set("dfl-port.0", "id", "two") }, nil, good, `dfl-port.0: …"two" is not a`},
		{"14 no payload", write(nlb3+".gbs", bitstreamtest.GBS{AFU: nlb3, NoPayload: true}.Bytes()), nil, good, "port dfl-port.0: function " + nlb3 + ": bitstream "},
		{"15 the driver refuses", func(n *node) { n.put(nlb3) }, nil, good, "port dfl-port.0: function " + nlb3 + ": partial reconfiguration: …inappropriate ioctl"},
		{"a port that does not answer", func(n *node) { n.set("dfl-port.0", "afu_id", strings.Repeat("f", 32)) }, nil, good, "port dfl-port.0…all ones"},
		{"a card that does not answer", func(n *node) {
			n.set("dfl-fme.0", "dfl-fme-region.1/fpga_region/region1/compat_id", strings.Repeat("f", 32))
		}, nil, good, "0 free ports…dfl-port.0: dfl-fme.0 reads as all ones: the card does not answer"},
	} {
		t.Run(tt.row, func(t *testing.T) {
			n := newNode(t, "dfl")
			if tt.node != nil {
				tt.node(n)
			}
			stdin := tt.ctr.state
			if tt.stdin != nil {
				stdin = tt.stdin
			}
			want(t, n.hook(stdin(t)), tt.wantErr)
		})
	}
}

func text(s string) func(*testing.T) string { return func(*testing.T) string { return s } }

func TestHostileWordsOfAPodStayWords(t *testing.T) {
	long := strings.Repeat("A", 3<<20)
	for _, tt := range []struct {
		name    string
		env     []string
		wantErr string
	}{
		{"entries without =", append(asks(nlb0), "FPGA_AFU", "FPGA_REGION", "", "=", "=x", "NAME"), ""},
		{"an asking entry without =", append(asks(nlb0), "FPGA_REGION_1"), `FPGA_REGION_1: interface id ""`},
		{"no suffix", []string{"FPGA_REGION_=" + iface, "FPGA_AFU_=" + nlb0}, ""},
		{"any suffix", []string{"FPGA_REGION_a b\n=" + iface, "FPGA_AFU_a b\n=" + nlb0}, ""},
		{"the last of two counts", append([]string{"FPGA_REGION_1=x", "FPGA_AFU_1=y"}, asks(nlb0)...), ""},
		{"dashes, case and blanks", []string{"FPGA_REGION_1= 69528DB6-eb31-577a-8c36-68f9faa081f6 ", "FPGA_AFU_1=\tD8424DC4A4A3C413F89E433683F9040B\n"}, ""},
		{"a way out of the store", asks("../../../etc/passwd"), `FPGA_AFU_1: function id "../../../etc/passwd"`},
		{"a way out, encoded", asks("d8424dc4%2f..%2f"), "FPGA_AFU_1: function id"},
		{"lines and escapes", asks("x\ny\r\n\x1b[31mred\x00\u2028\u202e"), "FPGA_AFU_1: function id"},
		{"not UTF-8", asks("\xff\xfe"), "FPGA_AFU_1: function id"},
		{"a huge value", asks(long), "FPGA_AFU_1: function id …AAAA…hex digits"},
		{"a huge name", []string{"FPGA_REGION_" + long + "=" + iface, "FPGA_AFU_1=" + nlb0}, "FPGA_REGION_AAAA…is set, FPGA_AFU_AAAA…is not"},
		{"a short interface", []string{"FPGA_REGION_1=69528db6", "FPGA_AFU_1=" + nlb0}, "FPGA_REGION_1: interface id"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, "dfl").put(nlb0)
			want(t, n.hook(container{env: tt.env, devices: []device{port(0)}}.state(t)), tt.wantErr)
		})
	}
}

func TestALongMessageKeepsItsBeginningAndItsEnd(t *testing.T) {
	line := call(t, `{"bundle":"/`+strings.Repeat("é/", 1<<18)+`x"}`)
	want(t, line, "inlay-hook: bundle: stat /é/… … …")
	if len(line) > maxLine || !strings.HasSuffix(line, "file name too long") {
		t.Errorf("%d bytes: %s", len(line), line)
	}
}

func TestWithoutARecordOnlyPortsThatAreWhatTheyClaimCount(t *testing.T) {
	for _, tt := range []struct {
		name    string
		mode    string
		ctr     container
		wantErr string
		ports   string // that were readied, in the order of the journal
	}{
		{"in the order of linux.devices", "", container{env: asks(nlb0), devices: []device{port(2), port(0)}}, "", "dfl-port.2"},
		{"one that holds it first", "", container{env: asks(nlb3), devices: []device{port(0), port(1), port(2)}}, "", "dfl-port.1"},
		{"two of one interface take two ports", "", container{env: asks(nlb0, nlb0), devices: []device{port(0), port(1), port(2)}}, "", "dfl-port.0 dfl-port.2"},
		{"loaded the other way round", "", container{env: asks(nlb3, nlb0), devices: []device{port(0), port(1)}}, "", "dfl-port.0 dfl-port.1"},
		{"listed twice is one", "", container{env: asks(nlb0, nlb0), devices: []device{port(0), port(0)}}, "1 free ports", ""},
		{"the name's path does not matter", "", container{env: asks(nlb0), devices: []device{{"/fpga/dfl-port.0", "c", 243, 0}}}, "", "dfl-port.0"},
		{"another major", "", container{env: asks(nlb0), devices: []device{{"/dev/dfl-port.0", "c", 244, 0}}}, "dfl-port.0 is 243:0 on this host, not 244:0", ""},
		{"another minor", "", container{env: asks(nlb0), devices: []device{{"/dev/dfl-port.0", "c", 243, 1}}}, "dfl-port.0 is 243:0 on this host, not 243:1", ""},
		{"a block device", "", container{env: asks(nlb0), devices: []device{{"/dev/dfl-port.0", "b", 243, 0}}}, "0 free ports…(dfl-port.0 is a block device in linux.devices, not a character device)", ""},
		{"a type of nobody", "", container{env: asks(nlb0), devices: []device{{"/dev/dfl-port.0", "x\n", 243, 0}}}, `(dfl-port.0 is of type "x\n" in linux.devices, not a character device)`, ""},
		{"a name that only begins like one", "", container{env: asks(nlb0), devices: []device{{"/dev/dfl-port.0x", "c", 243, 0}}}, "0 free ports", ""},
		{"a regiondevel container", "", container{env: []string{"A=b"}, devices: []device{port(0), port(1), fme(0)}}, "", "dfl-port.0"},
		{"the same on a regiondevel node", "regiondevel", container{env: []string{"A=b"}, devices: []device{fme(0), port(0), port(1)}}, "", "dfl-port.0"},
		{"a privileged container that asks", "", container{env: asks(nlb0), devices: []device{fme(0), port(0), fme(1)}}, "", "dfl-port.0"},
		{"a function on a regiondevel node", "regiondevel", container{env: asks(nlb0), devices: []device{fme(0), port(0)}}, "this node's mode is regiondevel", ""},
		{"no function on a region node", "region", container{env: []string{"A=b"}, devices: []device{fme(0), port(0)}}, "this node's mode is region…no FPGA_REGION_n", ""},
		{"an af node", "af", container{env: []string{"A=b"}, devices: []device{port(0)}}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, "dfl:ports=2,afu="+nlb0+"/"+nlb3, "dfl").put(nlb0, nlb3)
			if tt.mode != "" {
				n.mode(tt.mode)
			}
			want(t, n.hook(tt.ctr.state(t)), tt.wantErr)
			if tt.wantErr == "" {
				n.wantReadied(tt.ports)
			}
		})
	}
}

// As the earlier hook did: it looked at no device behind the last port that it needed, and at no FME of its own accord.
func TestASickDeviceBehindThePortsThatAreNeededIsNobodysConcern(t *testing.T) {
	noNumber := func(n *node, port string) { n.set(port, "id", "none") }
	for _, tt := range []struct {
		name    string
		sick    func(*node)
		env     []string
		devices []device
		wantErr string
		ports   string
	}{
		{"behind it", nil, asks(nlb0), []device{port(0), port(9)}, "", "dfl-port.0"},
		{"before it", nil, asks(nlb0), []device{port(9), port(0)}, "function " + nlb0 + ": dfl-port.9: no such FPGA device", ""},
		{"behind both", func(n *node) { noNumber(n, "dfl-port.2") }, asks(nlb0, nlb3), []device{port(0), port(1), port(2)}, "", "dfl-port.0 dfl-port.1"},
		{"behind the first of two", func(n *node) { noNumber(n, "dfl-port.1") }, asks(nlb0, nlb0), []device{port(0), port(1), port(2)}, `dfl-port.1: port number "none"`, ""},
		{"a better one behind that", func(n *node) { noNumber(n, "dfl-port.2") }, asks(nlb3), []device{port(0), port(2), port(1)}, "", "dfl-port.1"},
		{"an FME that is not there", nil, asks(nlb0), []device{fme(9), port(0)}, "", "dfl-port.0"},
		{"an FME without node", func(n *node) { os.Remove(n.path("dev/dfl-fme.1")) }, asks(nlb0), []device{fme(0), fme(1), port(0), port(2)}, "", "dfl-port.0"},
		{"an FME to be programmed by the container", nil, []string{"A=b"}, []device{port(0), fme(0), fme(9)}, "dfl-fme.9: no such FPGA device", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, "dfl:ports=2,afu="+nlb0+"/"+nlb3, "dfl").put(nlb0, nlb3)
			if tt.sick != nil {
				tt.sick(n)
			}
			want(t, n.hook(container{env: tt.env, devices: tt.devices}.state(t)), tt.wantErr)
			if tt.wantErr == "" {
				n.wantReadied(tt.ports)
			}
		})
	}
}

// wantReadied compares the ports of the journal, sorted: ports are readied side by side.
func (n *node) wantReadied(ports string) {
	n.t.Helper()
	got := map[string]bool{}
	for _, e := range n.journal() {
		if e.Error != "" {
			n.t.Errorf("journal %+v", e)
		}
		got[e.Device] = true
	}
	wanted := strings.Fields(ports)
	for _, p := range wanted {
		if !got[p] {
			n.t.Errorf("port %s was not readied, but %v", p, got)
		}
	}
	if len(got) != len(wanted) {
		n.t.Errorf("readied %v, want %s", got, ports)
	}
}

func TestBothDriversInOneContainer(t *testing.T) {
	n := newNode(t, "dfl", "opae:iface="+other+",afu="+nlb3).put(nlb0)
	ctr := container{
		env:     append(asks(nlb0), "FPGA_REGION_2="+other, "FPGA_AFU_2="+nlb3),
		devices: []device{port(0), {"/dev/intel-fpga-port.0", "c", 240, 0}},
	}
	want(t, n.hook(ctr.state(t)), "")
	n.wantReadied("dfl-port.0 intel-fpga-port.0")
}
