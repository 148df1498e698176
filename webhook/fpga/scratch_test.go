package fpga_test

import (
	"strings"
	"testing"

	"github.com/inlay-project/inlay/webhook/fpga"
)

// Pods one after the other in the same memory, forwards and backwards: long patches, short ones, none, denials.
func TestMemoryThatIsUsedAgainMakesNoDifference(t *testing.T) {
	own := strings.Repeat("{name: A, value: b}, ", 50) + "{name: B, value: c}"
	var pods []fpga.Pod
	for _, spec := range []string{
		"containers: [{name: c, resources: " + asks(fp+"n3o", "1") + ", env: [" + own + "]}]",
		"containers: [{name: c, resources: " + asks(fp+"n0p", "2") + "}]",
		"containers: [{name: c, resources: " + asks("cpu", "1") + "}]",
		"containers: [{name: c, resources: " + asks(fp+"absent", "1") + "}]",
		"containers: [{name: a, resources: " + asks(fp+"n3o", "1") + "}, {name: b, resources: " + asks(fp+"n3o", "2") + "}]",
	} {
		pods = append(pods, view(t, pod(t, spec)))
	}
	for i := range pods {
		pods = append(pods, pods[len(pods)-1-2*i])
	}
	o := fpga.Options{ModeAffinity: true}
	again := o
	again.Scratch = &fpga.Scratch{}
	for i, p := range pods {
		want, err := fpga.Translate(p, "ns1", ns1(), o).MarshalPatch()
		if err != nil {
			t.Fatal(err)
		}
		v := fpga.Translate(p, "ns1", ns1(), again)
		if got, err := v.MarshalPatch(); err != nil || string(got) != string(want) {
			t.Errorf("pod %d: %v\n%s\nwant\n%s", i, err, got, want)
		}
		if v.Denied != "" && len(v.Patch) > 0 {
			t.Errorf("pod %d is denied and has a patch", i)
		}
	}
	if n := again.Scratch.Size(); n < 3000 || n > 64<<10 {
		t.Errorf("it holds %d bytes", n)
	}
}
