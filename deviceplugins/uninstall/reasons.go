package uninstall

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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

// domain ends the first part of the names of resources, which begins with the family: "gpu.intel.com/i915".
const domain = ".intel.com/"

// probeLimit bounds a look at a socket that somebody may serve.
const probeLimit = time.Second

// A kubelet that is busy or restarts is asked again: nobody waits for the answer but who uninstalls, and a Job that
// refuses has to be made anew by hand.
const (
	askTimes = 3
	askEvery = time.Second
)

// Reasons say who would be cut off, or would put back what is taken away.
func (n Node) Reasons(ctx context.Context) []string {
	reasons := n.Holders(ctx)
	if _, err := nristatus.Ask(ctx, filepath.Join(n.RunDir, nristatus.SocketName)); err == nil {
		reasons = append(reasons, "inlay-nri runs on this node: stop it first")
	}
	return reasons
}

// Holders are those of the reasons that also count before the runtime's own inlay-nri is taken away: who would be cut off,
// and a device plugin that runs.
func (n Node) Holders(ctx context.Context) []string {
	var reasons []string
	switch pods, err := n.holdingPods(ctx, "fpga"); {
	case err != nil:
		reasons = append(reasons, fmt.Sprintf("whether pods hold FPGAs cannot be told (--podresources= where there is no kubelet): %v", err))
	case len(pods) > 0:
		reasons = append(reasons, "pods hold FPGAs, delete them first: "+strings.Join(pods, ", "))
	}
	reasons = append(reasons, n.holdingProcesses()...)
	return append(reasons, n.servedSockets(ctx)...)
}

// holdingPods asks the kubelet. It alone knows every pod that was given a device, whatever the runtime, also one that has
// not been started yet or does not use it at the moment. Who cannot be asked is taken for a yes.
func (n Node) holdingPods(ctx context.Context, family string) ([]string, error) {
	if n.PodResources == "" {
		return nil, nil
	}
	listing, err := askKubelet(ctx, podresources.Client{Socket: n.PodResources})
	if err != nil {
		return nil, err
	}
	var pods []string
	for _, h := range listing.Holdings {
		if pod := h.Namespace + "/" + h.Pod; strings.HasPrefix(h.Resource, family+domain) && !slices.Contains(pods, pod) {
			pods = append(pods, pod)
		}
	}
	slices.Sort(pods)
	return pods, nil
}

// askKubelet gives the last error if none of the questions is answered.
func askKubelet(ctx context.Context, kubelet podresources.Client) (*podresources.Listing, error) {
	for asked := 1; ; asked++ {
		listing, err := kubelet.List(ctx)
		if err == nil || asked == askTimes {
			return listing, err
		}
		select {
		case <-time.After(askEvery):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// held says which pods would miss what a family has on the host when one of their containers starts again. Unlike an FPGA,
// a device of these families may be another plugin's, so this refuses nothing: what they need stays.
func (n Node) held(ctx context.Context, family string) string {
	if n.Force {
		return ""
	}
	pods, err := n.holdingPods(ctx, family)
	switch {
	case err != nil:
		return fmt.Sprintf("whether pods hold devices of %s.intel.com cannot be told: %v", family, err)
	case len(pods) > 0:
		return fmt.Sprintf("pods hold devices of %s.intel.com, delete them first: %s", family, strings.Join(pods, ", "))
	}
	return ""
}

// theirs says that another plugin serves a family's devices here: its files have the names and kinds that ours have.
func (n Node) theirs(ctx context.Context, family string) string {
	name := served(ctx, n.Plugins, func(e fs.FileInfo) bool {
		return strings.HasPrefix(e.Name(), family+".intel.com-") && familySocket.MatchString(e.Name()) && !isResourceSocket(nil, e)
	})
	if name == "" {
		return ""
	}
	return "another device plugin serves " + name + ", and may need it"
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

// servedSockets tells whether a device plugin runs that is Inlay's, or serves FPGAs.
func (n Node) servedSockets(ctx context.Context) []string {
	name := served(ctx, n.Plugins, func(e fs.FileInfo) bool {
		return isResourceSocket(nil, e) && !temporarySocket.MatchString(e.Name())
	})
	if name == "" {
		return nil
	}
	return []string{"a device plugin serves " + name + ": stop it first"}
}

// served gives the first of the folder's sockets, among those asked for, that somebody serves.
func served(ctx context.Context, dir string, which func(fs.FileInfo) bool) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "" // no kubelet's folder, nobody in it
	}
	for _, e := range entries {
		st, err := e.Info()
		if err != nil || st.Mode().Type() != fs.ModeSocket || !which(st) {
			continue
		}
		if answers(ctx, filepath.Join(dir, e.Name())) {
			return e.Name()
		}
	}
	return ""
}

// answers tells whether somebody serves a socket. One who does not get to it in time is somebody too.
func answers(ctx context.Context, socket string) bool {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	conn, err := unixsock.Dial(ctx, socket)
	if err == nil {
		conn.Close()
	}
	return err == nil || errors.Is(err, context.DeadlineExceeded)
}
