package health

import (
	"bytes"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/inlay-project/inlay/deviceplugins/gpu/health/healthtest"
)

func schemas(t testing.TB) (levelzero, xpu protoreflect.FileDescriptor) {
	t.Helper()
	levelzero, err := healthtest.Schema("")
	if err != nil {
		t.Fatal(err)
	}
	if xpu, err = healthtest.Schema("deviceinfo"); err != nil {
		t.Fatal(err)
	}
	return levelzero, xpu
}

func get(m *dynamicpb.Message, field string) protoreflect.Value {
	return m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(field)))
}

func faultOf(m *dynamicpb.Message) fault {
	e, _ := get(m, "error").Message().Interface().(*dynamicpb.Message)
	return fault{description: get(e, "description").String(), code: uint32(get(e, "errorcode").Uint())}
}

func TestARequestIsWhatTheProtobufLibraryWouldWrite(t *testing.T) {
	levelzero, _ := schemas(t)
	m := healthtest.NewMessage(levelzero, "DeviceId")
	m.Set(m.Descriptor().Fields().ByName("bdfAddress"), protoreflect.ValueOfString("0000:00:02.0"))
	want, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if got := (deviceID{address: "0000:00:02.0"}).marshal(); !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

// For any bytes: what both take, they take for the same; what the library refuses for its form, we refuse.
func FuzzAnswersAreReadAsTheProtobufLibraryDoes(f *testing.F) {
	levelzero, xpu := schemas(f)
	device := healthtest.Device{Address: "0000:3d:00.0", Health: []healthtest.Status{{Name: "core", Severity: 2, Reason: "hot", Message: "m"}, {Severity: 1}}}
	seed, err := proto.Marshal(healthtest.Response(xpu, []healthtest.Device{device, {}}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte{0x08, 1, 0x10, 0, 0x18, 1, 0xd2, 2, 4, 10, 0, 16, 1})
	f.Add([]byte{0x0a, 3, 1, 2, 0x80, 8, 1})
	f.Add([]byte{0x09, 0, 0, 0, 0, 0, 0, 0x59, 0x40, 0x0b, 0x0c})
	f.Fuzz(func(t *testing.T, b []byte) {
		compare(t, levelzero, "DeviceHealth", b, &deviceHealth{}, func(m *dynamicpb.Message, got *deviceHealth) []string {
			return diffs(get(m, "memory_ok").Bool() == got.memoryOK, get(m, "bus_ok").Bool() == got.busOK,
				get(m, "soc_ok").Bool() == got.socOK, faultOf(m) == got.fault)
		})
		compare(t, levelzero, "DeviceTemperature", b, &temperatures{}, func(m *dynamicpb.Message, got *temperatures) []string {
			same := func(field string, v float64) bool {
				return math.Float64bits(get(m, field).Float()) == math.Float64bits(v)
			}
			return diffs(same("global", got.global), same("gpu", got.gpu), same("memory", got.memory), faultOf(m) == got.fault)
		})
		compare(t, levelzero, "DeviceIndices", b, &indices{}, func(m *dynamicpb.Message, got *indices) []string {
			var want []uint32
			for list, i := get(m, "indices").List(), 0; i < list.Len(); i++ {
				want = append(want, uint32(list.Get(i).Uint()))
			}
			return diffs(cmp.Equal(want, got.list), faultOf(m) == got.fault)
		})
		compare(t, xpu, "DeviceHealthResponse", b, &devices{}, func(m *dynamicpb.Message, got *devices) []string {
			list := get(m, "devices").List()
			if list.Len() != len(got.list) {
				return []string{"number of devices"}
			}
			for i := range list.Len() {
				d := list.Get(i).Message()
				field := func(m protoreflect.Message, name string) protoreflect.Value {
					return m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(name)))
				}
				if field(field(field(d, "info").Message(), "pci").Message(), "bdf").String() != got.list[i].address {
					return []string{"address"}
				}
				domains := field(d, "health").List()
				if domains.Len() != len(got.list[i].domains) {
					return []string{"number of domains"}
				}
				for j := range domains.Len() {
					h, g := domains.Get(j).Message(), got.list[i].domains[j]
					if field(h, "name").String() != g.name || field(h, "severity").Uint() != uint64(uint32(g.severity)) ||
						field(h, "reason").String() != g.reason || field(h, "message").String() != g.message {
						return []string{"domain"}
					}
				}
			}
			return nil
		})
	})
}

func diffs(same ...bool) (list []string) {
	for i, ok := range same {
		if !ok {
			list = append(list, []string{"first", "second", "third", "fourth"}[i]+" field")
		}
	}
	return list
}

// compare reads bytes in both ways. The library also looks into fields that we skip and refuses text that is not UTF-8,
// so that we may take what it does not.
func compare[M message](t *testing.T, file protoreflect.FileDescriptor, name string, b []byte, got M, differ func(*dynamicpb.Message, M) []string) {
	t.Helper()
	want := healthtest.NewMessage(file, name)
	theirs := proto.Unmarshal(b, want)
	ours := unmarshal(b, got)
	if theirs == nil && ours != nil {
		t.Fatalf("%s: refused: %v", name, ours)
	}
	if theirs == nil {
		if d := differ(want, got); len(d) > 0 {
			t.Fatalf("%s: read otherwise: %v, %+v and %v", name, d, got, want)
		}
	}
}

func TestATornAnswerIsAnError(t *testing.T) {
	for _, b := range [][]byte{{0x08}, {0x0a, 5, 1}, {0x09, 1}, {0xff}, {0x0a, 2, 0x12, 9}, {0x0a, 1, 0x80}} {
		var errs int
		for _, m := range []message{&deviceHealth{}, &indices{}, &devices{}} {
			if unmarshal(b, m) != nil {
				errs++
			}
		}
		if errs == 0 {
			t.Errorf("%x is taken for an answer", b)
		}
	}
}
