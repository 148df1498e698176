package epc

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	logrustest "github.com/sirupsen/logrus/hooks/test"
)

type object = map[string]any

// pod gives a pod's JSON; containers and init containers are resources by name, JSON.
func pod(metadata string, phase string, containers, init map[string]string) []byte {
	list := func(all map[string]string) []object {
		var out []object
		for name, resources := range all {
			out = append(out, object{
				"name": name, "image": "i", "env": []object{{"name": "A", "value": "b"}}, "resources": json.RawMessage(resources),
			})
		}
		return out
	}
	raw, err := json.Marshal(object{
		"apiVersion": "v1", "kind": "Pod", "metadata": json.RawMessage(metadata),
		"spec":   object{"nodeName": "n1", "containers": list(containers), "initContainers": list(init), "tolerations": []object{{"operator": "Exists"}}},
		"status": object{"phase": phase, "podIP": "10.0.0.1"},
	})
	if err != nil {
		panic(err)
	}
	return raw
}

const plain = `{"namespace":"ns","name":"p","uid":"u","resourceVersion":"7","annotations":{"a":"b"},"managedFields":[{"fieldsV1":{"f:x":{}}}]}`

func limit(quantity string) string {
	return `{"limits":{"sgx.intel.com/epc":` + quantity + `,"sgx.intel.com/enclave":"1","cpu":"1"}}`
}

func TestWhatAQuantityLimits(t *testing.T) {
	for _, tt := range []struct {
		quantity string // JSON
		want     int64  // 0: no limit
	}{
		{`"1Mi"`, 1 << 20},
		{`"512Ki"`, 512 << 10},
		{`"4096"`, 4096},
		{`4096`, 4096},
		{`"1e6"`, 1_000_000},
		{`1e6`, 1_000_000},
		{`"1E3"`, 1000},
		{`"1M"`, 1_000_000},
		{`"+3Gi"`, 3 << 30},
		{`"1"`, 1},
		// A fraction of a byte is rounded up.
		{`"0.5"`, 1},
		{`"1500m"`, 2},
		{`"0.1Ki"`, 103},
		{`"1n"`, 1},
		{`"1125899906842624"`, 1 << 50},
		// What limits nothing, or nothing that there could be.
		{`"0"`, 0},
		{`"-1"`, 0},
		{`"-1Mi"`, 0},
		{`"1125899906842625"`, 0},
		{`"1Ei"`, 0},
		{`"99E"`, 0},
		{`"9999999999999999999999999999"`, 0},
		{`"1e99"`, 0},
		{`"1e999999999"`, 0},
		{`"1e-999999999"`, 0},
		{`"many"`, 0},
		{`"1 Mi"`, 0},
		{`""`, 0},
		{`null`, 0},
		{`true`, 0},
		{`{"a":1}`, 0},
		{`"` + strings.Repeat("0", 100) + `1"`, 0},
	} {
		t.Run(tt.quantity, func(t *testing.T) {
			log, logs := logrustest.NewNullLogger()
			log.SetLevel(logrus.DebugLevel)
			p, err := Decode(pod(plain, "Running", map[string]string{"c": limit(tt.quantity)}, nil), log)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Limits["c"]; got != tt.want || !p.Enclaves {
				t.Errorf("%d, want %d; enclaves %v", got, tt.want, p.Enclaves)
			}
			told := logs.LastEntry()
			if (told != nil) != (tt.want == 0) || told != nil && told.Level != logrus.DebugLevel {
				t.Errorf("told %v", told)
			}
		})
	}
}

func TestWhatIsReadOfAPod(t *testing.T) {
	const static = `{"namespace":"kube-system","name":"p-n1","uid":"of-the-copy","resourceVersion":"7","annotations":{
		"kubernetes.io/config.hash":"abc","kubernetes.io/config.mirror":"abc","kubernetes.io/config.source":"file"}}`
	mi := func(n int64) map[string]int64 { return map[string]int64{"c": n << 20} }
	main := func(resources string) map[string]string { return map[string]string{"c": resources} }
	for _, tt := range []struct {
		name, metadata, phase string
		containers, init      map[string]string
		want                  Pod
	}{
		{"a limit", plain, "Pending", main(limit(`"1Mi"`)), nil, Pod{Enclaves: true, Limits: mi(1)}},
		{"without anything of SGX", plain, "Pending", main(`{"limits":{"cpu":"1","fpga.intel.com/af-x":"1"}}`), nil, Pod{}},
		{"no containers", plain, "Pending", nil, nil, Pod{}},
		{"an enclave without a limit", plain, "Running", main(`{"limits":{"sgx.intel.com/enclave":"1"}}`), nil, Pod{Enclaves: true}},
		{"asked for and not limited", plain, "Running", main(`{"requests":{"sgx.intel.com/epc":"1Mi"}}`), nil, Pod{Enclaves: true}},
		{"any resource of the domain", plain, "", main(`{"limits":{"sgx.intel.com/qe":"1"}}`), nil, Pod{Enclaves: true}},
		{"another domain", plain, "", main(`{"limits":{"sgx.intel.company/epc":"1Mi","asgx.intel.com/epc":"1Mi","sgx.intel.com":"1"}}`), nil, Pod{}},
		{
			"another resource that differs by case", plain, "",
			main(`{"limits":{"sgx.intel.com/EPC":"1Gi","sgx.intel.com/epc":"1Mi","SGX.intel.com/epc":"1Gi"}}`), nil,
			Pod{Enclaves: true, Limits: mi(1)},
		},
		{
			"init containers, sidecars among them", plain, "Pending",
			map[string]string{"a": `{}`},
			main(limit(`"2Mi"`)),
			Pod{Enclaves: true, Limits: mi(2)},
		},
		{
			"each container its own", plain, "Pending",
			map[string]string{"a": limit("1"), "b": limit("2"), "d": `{"limits":{"sgx.intel.com/enclave":"1"}}`},
			map[string]string{"c": limit("3")},
			Pod{Enclaves: true, Limits: map[string]int64{"a": 1, "b": 2, "c": 3}},
		},
		{"succeeded", plain, "Succeeded", main(limit(`"1Mi"`)), nil, Pod{}},
		{"failed", plain, "Failed", main(limit(`"1Mi"`)), nil, Pod{}},
		{"unknown is not ended", plain, "Unknown", main(limit(`"1Mi"`)), nil, Pod{Enclaves: true, Limits: mi(1)}},
		{"the copy of a static pod", static, "Running", main(limit(`"1Mi"`)), nil, Pod{RuntimeUID: "abc", Static: true, Enclaves: true, Limits: mi(1)}},
		{
			"the copy of a static pod, without a hash", strings.Replace(static, "config.hash", "config.has", 1), "", main(limit(`"1Mi"`)), nil,
			Pod{RuntimeUID: "of-the-copy", Static: true, Enclaves: true, Limits: mi(1)},
		},
		{
			"a hash alone makes no static pod", strings.Replace(static, "config.mirror", "config.Mirror", 1), "", main(limit(`"1Mi"`)), nil,
			Pod{RuntimeUID: "of-the-copy", Enclaves: true, Limits: mi(1)},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log, _ := logrustest.NewNullLogger()
			p, err := Decode(pod(tt.metadata, tt.phase, tt.containers, tt.init), log)
			if err != nil {
				t.Fatal(err)
			}
			want := tt.want
			want.Namespace, want.Name, want.ResourceVersion = "ns", "p", "7"
			if tt.metadata == plain {
				want.RuntimeUID = "u"
			} else {
				want.Namespace, want.Name = "kube-system", "p-n1"
			}
			if diff := cmp.Diff(&want, p); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(p, p.DeepCopyObject()); diff != "" {
				t.Errorf("copy (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAPodThatIsNotAsExpectedHasNoEnclaves(t *testing.T) {
	many := map[string]string{}
	for i := range mostContainers + 1 {
		many[fmt.Sprint("c", i)] = limit(`"1Mi"`)
	}
	for name, raw := range map[string][]byte{
		"containers that are none": []byte(`{"metadata":` + plain + `,"spec":{"containers":7}}`),
		"a limit that is none":     []byte(`{"metadata":` + plain + `,"spec":{"containers":[{"name":"c","resources":{"limits":{"sgx.intel.com/epc":"1"},"requests":7}}]}}`),
		"too many containers":      pod(plain, "Running", many, nil),
	} {
		t.Run(name, func(t *testing.T) {
			log, logs := logrustest.NewNullLogger()
			p, err := Decode(raw, log)
			if err != nil || p.Name != "p" || p.Namespace != "ns" || p.ResourceVersion != "7" || p.Enclaves || p.Limits != nil {
				t.Fatalf("%+v, %v", p, err)
			}
			if last := logs.LastEntry(); last == nil || last.Level != logrus.WarnLevel || last.Data["pod"] != "p" {
				t.Errorf("told %v", last)
			}
		})
	}
	for name, raw := range map[string]string{
		"nothing": "", "no JSON": "{", "no object": "7", "no metadata": "{}", "no name": `{"metadata":{"namespace":"a"}}`, "a number as name": `{"metadata":{"name":7}}`,
	} {
		if p, err := Decode([]byte(raw), logrus.New()); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(pod(plain, "Running", map[string]string{"c": limit(`"1Mi"`)}, map[string]string{"i": limit(`1e3`)}))
	f.Add(pod(plain, "Failed", map[string]string{"c": limit(`"1e-9"`)}, nil))
	f.Add([]byte(`{"metadata":{"name":"p","annotations":{"kubernetes.io/config.mirror":"","kubernetes.io/config.hash":"x"}},"spec":{"containers":[null,{}]}}`))
	f.Add([]byte(`{"metadata":{"name":"p"},"spec":{"containers":[{"resources":{"limits":{"sgx.intel.com/epc":"9E"}}}]}}`))
	log, _ := logrustest.NewNullLogger()
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := Decode(raw, log)
		if err != nil {
			return
		}
		if p.Name == "" || len(p.Limits) > mostContainers || len(p.Limits) > 0 && !p.Enclaves {
			t.Errorf("%+v", p)
		}
		for c, n := range p.Limits {
			if n <= 0 || n > mostBytes {
				t.Errorf("%s: %d", c, n)
			}
		}
	})
}
