package earlier

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/internal/unixsock"
)

// domain begins the names of the resources, and of their sockets.
const domain = "fpga.intel.com"

// probeLimit bounds a look at one socket, and looksLimit one at all of them: a plugin that hangs must not hold up a scan.
const (
	probeLimit = 300 * time.Millisecond
	looksLimit = 2 * time.Second
)

// Sign is one thing of another FPGA plugin on this node.
type Sign struct {
	Path   string // as the host has it, or as this process sees it where that is not known
	Reason string // what it means
	Remedy string // the command that helps
}

// findDaemonSet is how a person finds the old system's DaemonSet, by the label that it has however it was installed. Ours
// has it too, for scripts.
const (
	findDaemonSet = "kubectl get daemonset -A -l app=intel-fpga-plugin,app.kubernetes.io/part-of!=inlay"
	endIt         = "delete its DaemonSet (" + findDaemonSet + ")"
)

// Rewritten is the sign that somebody writes an earlier plugin's CDI file, which is ours, anew.
func Rewritten(path string) Sign {
	return Sign{Path: path, Reason: "another FPGA device plugin writes it anew: " + endIt, Remedy: findDaemonSet}
}

// Sockets looks at the device plugin sockets in the kubelet's folder. The zero value is ready; one caller at a time.
type Sockets struct {
	// Limit bounds the look at one socket; zero is 300 ms.
	Limit time.Duration

	// inlays are sockets that Inlay was found to serve. They are asked once: a new server has a new socket.
	inlays map[string]unixsock.Identity
}

// IsSocket tells whether a name is that of an FPGA resource's socket.
func IsSocket(name string) bool {
	return strings.HasPrefix(name, domain+"-") && strings.HasSuffix(name, ".sock")
}

// Served gives a sign for each socket in the folder that is served by somebody else than Inlay. A folder that is not
// there, a socket that nobody serves and one that does not answer in time are none.
func (s *Sockets) Served(ctx context.Context, dir string) []Sign {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	limit := cmp.Or(s.Limit, probeLimit)
	ctx, cancel := context.WithTimeout(ctx, max(looksLimit, limit))
	defer cancel()
	var signs []Sign
	inlays := map[string]unixsock.Identity{}
	for _, e := range entries {
		if !IsSocket(e.Name()) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		id, ok := unixsock.Stat(path)
		if !ok {
			continue
		}
		if known, ok := s.inlays[path]; ok && known == id {
			inlays[path] = id
			continue
		}
		options, err := ask(ctx, path, limit)
		switch {
		case err != nil:
		case options.GetPreStartRequired():
			inlays[path] = id
		default:
			signs = append(signs, Sign{
				Path: path, Remedy: findDaemonSet,
				Reason: "another FPGA device plugin serves it, so this node's cards are given out twice: " + endIt,
			})
		}
	}
	s.inlays = inlays
	return signs
}

// ask calls the one method that says something about the plugin and changes nothing.
func ask(ctx context.Context, path string, limit time.Duration) (*v1beta1.DevicePluginOptions, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+path,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(unixsock.Dial))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return v1beta1.NewDevicePluginClient(conn).GetDevicePluginOptions(ctx, &v1beta1.Empty{})
}
