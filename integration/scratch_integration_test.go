//go:build integration

package integration

import (
	"testing"
	"time"
	"context"
	"fmt"
	"path/filepath"

	"github.com/inlay-project/inlay/integration/cri"
	"github.com/inlay-project/inlay/integration/kubelet"
)

func scratchTools(t *testing.T) Tools {
	tl := runtimeTools(t)
	for name, pkg := range programs {
		if name == "inlay-deviceplugin" { continue }
		p := filepath.Join(tools.dir, name)
		if err := goBuild(t.Context(), p, pkg); err != nil { t.Fatal(err) }
		tl.paths[name] = p
	}
	return tl
}

func TestScratch(t *testing.T) {
	tl := scratchTools(t)
	n := StartNode(t, tl, NodeOptions{Cards: []string{"dfl:ports=2", "dfl:ports=1"}})
	n.PutBitstream(Interface, NLB3, NLB3)
	i := &Inlay{Node: n, Hook: n.path("bin/inlay-hook"), options: InlayOptions{Mode: "region", HookTimeout: 20*time.Second}, t: t}
	i.InstallHook()
	i.WritePolicy(StandardPolicy())
	var err error
	if i.Kubelet, err = kubelet.Start(n.KubeletDir()); err != nil { t.Fatal(err) }
	n.cleanup("kubelet", func(context.Context) error { return i.Kubelet.Stop() })
	i.StartNRI()
	n.PutFile(n.CDIDir()+"/intel.cdi.k8s.io-fpga-gate.yaml", []byte(`{"cdiVersion":"0.5.0","kind":"intel.cdi.k8s.io/fpga","devices":[{"name":"gate","containerEdits":{"hooks":[{"hookName":"createRuntime","path":"`+i.Hook+`","args":["inlay-hook","gate"],"timeout":10}]}}]}`))
	pod := n.RunPod("fpga")
	spec := Shell(readFunctions)
	spec.Env = Regions(Want{Interface, NLB3}).Env
	spec.Annotations = map[string]string{"allocated.fpga.intel.com/region-"+Interface: "dfl-fme.0@0000:3b:00.0"}
	spec.CDIDevices = []string{"intel.cdi.k8s.io/fpga=gate"}
	spec.User = &cri.User{UID: 1000, GID: 1000}
	i.Kubelet.Claim(kubelet.Owner{Namespace, "fpga", "main"}, RegionResource(Interface), "dfl-fme.0")
	c, err := pod.TryRun(spec)
	if err != nil { t.Fatal(err) }
	w := &Workload{Pod: pod, inlay: i, t: t, container: c}
	fmt.Println(w.Ports())
	for _, p := range n.Programmed() { fmt.Printf("%+v\n", p) }
}
