package fpga_test

import (
	"os"
	"testing"

	"github.com/inlay-project/inlay/webhook/fpga"
)

func usualPod(t testing.TB) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/usual-pod.json")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// BenchmarkTranslate is what a request costs beside the answer's envelope: decode, translate and write the patch of a usual
// pod, as an API server sends it.
func BenchmarkTranslate(b *testing.B) {
	raw := usualPod(b)
	mappings := ns1()
	p, err := fpga.ParsePod(raw)
	if err != nil {
		b.Fatal(err)
	}
	o := fpga.Options{ModeAffinity: true}
	b.Run("all", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p, err := fpga.ParsePod(raw)
			if err != nil {
				b.Fatal(err)
			}
			verdict := fpga.Translate(p, "ns1", mappings, o)
			if patch, err := verdict.MarshalPatch(); err != nil || len(patch) < 100 {
				b.Fatal(err, verdict.Denied)
			}
		}
	})
	b.Run("translate", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if verdict := fpga.Translate(p, "ns1", mappings, o); verdict.Denied != "" {
				b.Fatal(verdict.Denied)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			if _, err := fpga.ParsePod(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}
