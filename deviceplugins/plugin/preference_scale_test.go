package plugin_test

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/deviceplugins/gpu"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/plugin/kubelettest"
	"github.com/inlay-project/inlay/deviceplugins/qat"
	"github.com/inlay-project/inlay/internal/childtest"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

// preferPromise is for a preferred allocation of 64 devices out of 1,024, asked over the socket.
const preferPromise = 5 * time.Millisecond

// treeText writes a golden tree.
type treeText struct{ strings.Builder }

func (t *treeText) put(name, text string) { fmt.Fprintf(t, "-- %s --\n%s\n", name, text) }

// function puts a PCI function below one of 8 roots and 16 bridges, half of them on the second socket, and gives its folder.
func (t *treeText) function(card, fn int, device, driver string) string {
	address := fmt.Sprintf("0000:%02x:00.%d", 0x10+card, fn)
	if fn > 7 {
		address = fmt.Sprintf("0000:%02x:01.%d", 0x10+card, fn-8)
	}
	dir := fmt.Sprintf("devices/pci0000:%02x/0000:%02x:%02x.0/%s", card%8, card%8, card%16, address)
	t.put("sys/bus/pci/devices/"+address, "-> ../../../"+dir)
	t.put("sys/"+dir+"/vendor", "0x8086")
	t.put("sys/"+dir+"/device", device)
	t.put("sys/"+dir+"/numa_node", fmt.Sprint(card%2))
	t.put("sys/"+dir+"/local_cpulist", "0-7")
	t.put("sys/"+dir+"/driver", "-> /sys/bus/pci/drivers/"+driver)
	return dir
}

// cards are 64 GPUs, to be offered 16 times each.
func cards() string {
	var t treeText
	t.put("sys/bus/pci/drivers/xe/bind", "")
	for i := range 64 {
		dir := t.function(i, 0, "0x56c0", "xe")
		for minor, name := range map[int]string{i: fmt.Sprintf("card%d", i), i + 128: fmt.Sprintf("renderD%d", i+128)} {
			t.put("sys/"+dir+"/drm/"+name+"/dev", fmt.Sprintf("226:%d", minor))
			t.put("sys/"+dir+"/drm/"+name+"/device", "-> /sys/"+dir)
			t.put("sys/class/drm/"+name, "-> ../../"+dir+"/drm/"+name)
			t.put("dev/dri/"+name, fmt.Sprintf("c 226:%d", minor))
		}
	}
	return t.String()
}

// functions are 1,024 VFs of 64 QAT devices.
func functions() string {
	var t treeText
	t.put("sys/bus/pci/drivers/vfio-pci/bind", "")
	t.put("dev/vfio/vfio", "c 10:196")
	for i := range 64 {
		pf := t.function(i, 0, "0x4940", "4xxx")
		t.put("sys/"+pf+"/sriov_totalvfs", "16")
		t.put("sys/"+pf+"/sriov_numvfs", "16")
		t.put("sys/"+pf+"/qat/state", "up")
		t.put("sys/"+pf+"/qat/cfg_services", "sym;asym")
		t.put("sys/bus/pci/drivers/4xxx/"+path.Base(pf), "-> /sys/"+pf)
		for vf := range 16 {
			dir := t.function(i, vf+1, "0x4941", "vfio-pci")
			if vf == 15 { // the 16 VFs of a PF take its device's 7 functions and 9 of others
				dir = t.function(i+64, 0, "0x4941", "vfio-pci")
			}
			group := fmt.Sprint(100 + 16*i + vf)
			t.put("sys/"+dir+"/physfn", "-> /sys/"+pf)
			t.put(fmt.Sprintf("sys/%s/virtfn%d", pf, vf), "-> /sys/"+dir)
			t.put("sys/"+dir+"/iommu_group", "-> ../../../../kernel/iommu_groups/"+group)
			t.put("dev/vfio/"+group, "c 239:"+group)
		}
	}
	return t.String()
}

// preference is a family with 1,024 devices of one resource.
type preference struct {
	name, resource, tree string
	// make gives the family, and what changes its policy.
	make func(root *hostfs.Root, log logrus.FieldLogger) (f plugin.Family, policy func(name string))
}

func preferences() []preference {
	return []preference{
		{"gpu", "gpu.intel.com/xe", cards(), func(root *hostfs.Root, log logrus.FieldLogger) (plugin.Family, func(string)) {
			o := gpu.DefaultOptions()
			o.SharedDevNum = 16
			f := gpu.New(gpu.Config{Root: root, Log: log}, o)
			return f, func(policy string) { o.AllocationPolicy = policy; f.Configure(o) }
		}},
		{"qat", "qat.intel.com/cy", functions(), func(root *hostfs.Root, log logrus.FieldLogger) (plugin.Family, func(string)) {
			o := qat.DefaultOptions()
			o.MaxNumDevices = 1024
			f := qat.New(qat.Config{Root: root, Log: log}, o).ReadOnly()
			return f, func(policy string) { o.AllocationPolicy = qat.Policy(policy); f.Configure(o) }
		}},
	}
}

// offer starts an engine with the family and gives the ids that the kubelet has then.
func (p preference) offer(b *bench) (ids []string, policy func(name string)) {
	b.Helper()
	dir := b.TempDir()
	if err := hostfstest.Extract(dir, []byte(p.tree), hostfstest.PlainNodes()); err != nil {
		b.Fatal(err)
	}
	root, err := hostfs.New(dir)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { root.Close() })
	log := logrus.New()
	log.SetOutput(io.Discard)
	b.startKubelet()
	family, policy := p.make(root, log)
	b.engine, b.stop = b.run(family, slow)
	r, err := b.kubelet.Wait(b.ctx, p.resource, func(r kubelettest.Resource) bool { return r.Allocatable() == 1024 })
	if err != nil {
		b.Fatalf("%v\n%+v", err, b.engine.Status())
	}
	return r.IDs(), policy
}

var policies = [...]string{"none", "balanced", "packed"}

// ask asks for 64 of all, three of which have to be among them.
func (b *bench) ask(resource string, ids []string) time.Duration {
	b.Helper()
	must := []string{ids[500], ids[3], ids[1000]}
	began := time.Now()
	got, err := b.kubelet.Prefer(b.ctx, resource, ids, must, 64)
	took := time.Since(began)
	if err != nil || len(got) != 64 || !slices.Equal(got[:3], must) {
		b.Fatalf("preferred: %v, %v", got, err)
	}
	return took
}

func TestAPreferenceOf64Of1024DevicesIsFast(t *testing.T) {
	for _, p := range preferences() {
		t.Run(p.name, func(t *testing.T) {
			b := newBench(t)
			ids, policy := p.offer(b)
			for _, name := range policies {
				policy(name)
				best := time.Hour // a machine that does something else as well is not what is measured
				for range 20 {
					best = min(best, b.ask(p.resource, ids))
				}
				if t.Logf("%s: 64 of 1,024: %v", name, best); best > preferPromise && !childtest.Race {
					t.Errorf("%s: 64 of 1,024 take %v at best, promised are %v", name, best, preferPromise)
				}
			}
		})
	}
}

// BenchmarkPrefer64Of1024 is one GetPreferredAllocation call over the socket. Promise: 5 ms p99.
func BenchmarkPrefer64Of1024(b *testing.B) {
	for _, p := range preferences() {
		for _, name := range policies {
			b.Run(p.name+" "+name, func(b *testing.B) {
				t := newBench(b)
				ids, policy := p.offer(t)
				policy(name)
				var times []time.Duration
				for b.Loop() {
					times = append(times, t.ask(p.resource, ids))
				}
				report(b, times, preferPromise)
			})
		}
	}
}
