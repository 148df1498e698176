package uninstall

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/inlay-project/inlay/fpga/card"
	"github.com/inlay-project/inlay/fpga/region"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/nristatus"
	"github.com/inlay-project/inlay/internal/podresources"
	"github.com/inlay-project/inlay/internal/unixsock"
)

// domain begins the names of the resources.
const domain = "fpga.intel.com/"

// probeLimit bounds a look at a socket that somebody may serve.
const probeLimit = time.Second

// Reasons say who would be cut off, or would put back what is taken away.
func (n Node) Reasons(ctx context.Context) []string {
	reasons := n.holdingPods(ctx)
	reasons = append(reasons, n.holdingProcesses()...)
	if _, err := nristatus.Ask(ctx, filepath.Join(n.RunDir, nristatus.SocketName)); err == nil {
		reasons = append(reasons, "inlay-nri runs on this node: stop it first")
	}
	return append(reasons, servedSockets(ctx, n.Plugins)...)
}

// holdingPods asks the kubelet. It alone knows every pod that was given a device, whatever the runtime, also one that has
// not been started yet or does not use it at the moment. Who cannot be asked is taken for a yes.
func (n Node) holdingPods(ctx context.Context) []string {
	if n.PodResources == "" {
		return nil
	}
	listing, err := podresources.Client{Socket: n.PodResources}.List(ctx)
	if err != nil {
		return []string{fmt.Sprintf("whether pods hold FPGAs cannot be told (--podresources= where there is no kubelet): %v", err)}
	}
	var pods []string
	for _, h := range listing.Holdings {
		if pod := h.Namespace + "/" + h.Pod; strings.HasPrefix(h.Resource, domain) && !slices.Contains(pods, pod) {
			pods = append(pods, pod)
		}
	}
	if len(pods) == 0 {
		return nil
	}
	slices.Sort(pods)
	return []string{"pods hold FPGAs, delete them first: " + strings.Join(pods, ", ")}
}

// holdingProcesses are those that no kubelet knows: Podman's containers, the bench. In a container they are seen if the
// host's /proc is where the host root has it.
func (n Node) holdingProcesses() []string {
	var reasons []string
	ask := func(name, node string, dev hostfs.Dev) {
		if found := region.Holders(n.Root.Join("/proc"), node, dev); len(found) > 0 {
			reasons = append(reasons, fmt.Sprintf("%s is in use by %s", name, strings.Join(found, ", ")))
		}
	}
	for _, fme := range card.Discover(n.Root).FMEs {
		ask(fme.Name, fme.Node, fme.Dev)
		for _, port := range fme.Ports {
			ask(port.Name, port.Node, port.Dev)
		}
	}
	return reasons
}

// servedSockets tells whether a device plugin runs.
func servedSockets(ctx context.Context, dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // no kubelet's folder, nobody in it
	}
	for _, e := range entries {
		if !resourceSocket.MatchString(e.Name()) {
			continue
		}
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, probeLimit)
			defer cancel()
			conn, err := unixsock.Dial(ctx, filepath.Join(dir, e.Name()))
			if err == nil {
				conn.Close()
			}
			return err
		}()
		if err == nil || errors.Is(err, context.DeadlineExceeded) {
			return []string{"a device plugin serves " + e.Name() + ": stop it first"}
		}
	}
	return nil
}
