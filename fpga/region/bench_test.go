package region_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/fpga/region"
)

// bench is a benchmark's job for a process of its own: only there its memory is Ensure's.
type bench struct {
	Port      string
	Functions []fpga.FunctionID // in turn, so that each call has to program
	N         int
}

// figures are what such a process measures.
type figures struct {
	Overhead []time.Duration // Ensure less the ioctl, sorted
	PR       []time.Duration // the ioctl, sorted
	Anon     int64           // bytes of anonymous memory at most
}

func (b *bench) run(p *region.Programmer) error {
	var f figures
	stop, peak := make(chan struct{}), make(chan int64)
	go func() { peak <- peakAnon(stop) }()
	for i := range b.N {
		began := time.Now()
		res, err := p.Ensure(context.Background(), region.Request{Port: b.Port, Interface: iface, Function: b.Functions[i%len(b.Functions)]})
		took := time.Since(began)
		if err != nil {
			return err
		}
		if !res.Programmed {
			return fmt.Errorf("%s held %s already", b.Port, res.AFU)
		}
		f.Overhead, f.PR = append(f.Overhead, took-res.PR), append(f.PR, res.PR)
	}
	close(stop)
	f.Anon = <-peak
	slices.Sort(f.Overhead)
	slices.Sort(f.PR)
	return json.NewEncoder(os.Stdout).Encode(f)
}

// peakAnon looks at this process's anonymous memory until it is told to stop.
func peakAnon(stop chan struct{}) int64 {
	var most int64
	for {
		most = max(most, anon())
		select {
		case <-stop:
			return most
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func anon() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}

const payloadSize = 40 << 20

// BenchmarkEnsure programs 40 MB bitstreams: what Ensure costs beside the ioctl (goal: at most 10 ms), and its
// anonymous memory (at most 16 MiB; AOCX: payload and 16 MiB).
func BenchmarkEnsure(b *testing.B) {
	for _, kind := range []string{"gbs", "aocx"} {
		for _, delay := range []time.Duration{0, 400 * time.Millisecond} {
			b.Run(fmt.Sprintf("%s-40MB/pr=%s", kind, delay), func(b *testing.B) { benchmark(b, kind, delay) })
		}
	}
}

func benchmark(b *testing.B, kind string, delay time.Duration) {
	dir := newNode(b, "dfl:ports=1,afu="+strings.Repeat("0", 32))
	n := openNode(b, dir)
	n.faults(emulator.Faults{"*": {PRDelay: delay.String()}})
	k := task{Node: dir, Bench: &bench{Port: "dfl-port.0", N: b.N}}
	for _, afu := range []string{nlb0, nlb3} {
		if kind == "gbs" {
			n.store(iface, afu, payloadSize)
			k.Bench.Functions = append(k.Bench.Functions, fpga.FunctionID(afu))
			continue
		}
		content, hash, err := emulator.AOCX(iface, afu, "", payloadSize)
		if err != nil {
			b.Fatal(err)
		}
		n.write("/srv/intel.com/fpga/"+iface+"/"+hash+".aocx", content)
		k.Bench.Functions = append(k.Bench.Functions, fpga.FunctionID(hash))
	}
	text, err := json.Marshal(k)
	if err != nil {
		b.Fatal(err)
	}
	var out bytes.Buffer
	b.ResetTimer()
	runEmulated(b, dir, &out, []string{helperVariable + "=" + string(text)})
	b.StopTimer()
	var f figures
	if err := json.Unmarshal(out.Bytes(), &f); err != nil {
		b.Fatalf("%v: %s", err, out.String())
	}
	milliseconds := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	b.ReportMetric(milliseconds(f.Overhead[len(f.Overhead)/2]), "overhead-ms/p50")
	b.ReportMetric(milliseconds(f.Overhead[len(f.Overhead)-1]), "overhead-ms/max")
	b.ReportMetric(milliseconds(f.PR[len(f.PR)/2]), "ioctl-ms/p50")
	b.ReportMetric(float64(f.Anon)/(1<<20), "RssAnon-MiB")
	if _, err := os.Stat(filepath.Join(dir, "record")); err != nil {
		b.Fatal(err)
	}
}
