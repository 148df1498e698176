package idxd_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/inlay-project/inlay/deviceplugins/familytest"
	"github.com/inlay-project/inlay/internal/hostfs/hostfstest"
)

// BenchmarkScan64Queues is a scan of eight devices with eight queues each, all shared by ten: 640 ids.
func BenchmarkScan64Queues(b *testing.B) {
	var tree strings.Builder
	put := func(path, text string) { fmt.Fprintf(&tree, "-- %s --\n%s\n", path, text) }
	for d := range 8 {
		device := fmt.Sprintf("sys/bus/dsa/devices/dsa%d", d)
		put(device+"/state", "enabled")
		for q := range 8 {
			name, number := fmt.Sprintf("wq%d.%d", d, q), fmt.Sprintf("235:%d", 8*d+q)
			put(device+"/"+name+"/state", "enabled")
			put(device+"/"+name+"/mode", "shared")
			put(device+"/"+name+"/type", "user")
			put(device+"/"+name+"/dsa!"+name+"/dev", number)
			put("dev/dsa/"+name, "c "+number)
			put("dev/char/"+number, "-> ../dsa/"+name)
		}
	}
	root := familytest.Tree(b, []byte(tree.String()), hostfstest.PlainNodes())
	h := lookAt(b, root, "--dsa-shared-dev-num=10")
	family := h.families[0]
	b.ReportAllocs()
	for b.Loop() {
		if inv, skipped, _ := family.Scan(b.Context()); len(inv[shared]) != 640 || len(skipped) > 0 {
			b.Fatalf("%d devices, skipped %v", len(inv[shared]), skipped)
		}
	}
}
