package earlier

import (
	"cmp"
	"context"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
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

// Sockets looks at the device plugin sockets in the kubelet's folder, and at who served them before. The zero value is
// ready; one caller at a time.
type Sockets struct {
	// Limit bounds the look at one socket; zero is 300 ms.
	Limit time.Duration

	// inlays are sockets that Inlay was found to serve. They are asked once: a new server has a new socket.
	inlays map[string]unixsock.Identity
	// others are the servers that were not found to be Inlays. Their connections stay: who lost a socket, to Inlay or to
	// somebody else, can be asked by nothing else, and goes on running.
	others []*server
}

// server is a process behind a socket that is, or was, in the kubelet's folder.
type server struct {
	path    string
	id      unixsock.Identity
	conn    *grpc.ClientConn
	foreign bool // it answered, and is no Inlay
	close   func()
}

// IsSocket tells whether a name is that of an FPGA resource's socket.
func IsSocket(name string) bool {
	return strings.HasPrefix(name, domain+"-") && strings.HasSuffix(name, ".sock")
}

// Served gives a sign for each socket in the folder that is served by somebody else than Inlay, or was when an earlier
// call saw it, as long as that process runs. A folder that is not there, a socket that nobody serves and one that has
// not answered in time yet are none. The connections that are kept end with ctx.
func (s *Sockets) Served(ctx context.Context, dir string) []Sign {
	entries, _ := os.ReadDir(dir) // no kubelet, no sockets
	sockets, inlays := map[string]unixsock.Identity{}, map[string]unixsock.Identity{}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		id, ok := unixsock.Stat(path)
		if !IsSocket(e.Name()) || !ok {
			continue
		}
		sockets[path] = id
		if known, ok := s.inlays[path]; ok && known == id {
			inlays[path] = id
		} else if !slices.ContainsFunc(s.others, func(o *server) bool { return o.path == path && o.id == id }) {
			if o, err := connect(ctx, path, id); err == nil {
				s.others = append(s.others, o)
			}
		}
	}
	limit := cmp.Or(s.Limit, probeLimit)
	looks, cancel := context.WithTimeout(ctx, max(looksLimit, limit))
	defer cancel()
	signs := map[string]Sign{} // one a path: a socket that was renamed has two connections to one process
	s.others = slices.DeleteFunc(s.others, func(o *server) bool {
		there, inlay := o.ask(looks, limit)
		if inlay {
			inlays[o.path] = o.id
		}
		if !there || inlay {
			o.close()
			return true
		}
		if o.foreign && sockets[o.path] == o.id {
			signs[o.path] = Sign{
				Path: o.path, Remedy: findDaemonSet,
				Reason: "another FPGA device plugin serves it, so this node's cards are given out twice: " + endIt,
			}
		} else if _, told := signs[o.path]; o.foreign && !told {
			signs[o.path] = Sign{
				Path: o.path, Remedy: findDaemonSet,
				Reason: "another FPGA device plugin served it before and still runs: " + endIt,
			}
		}
		return false
	})
	s.inlays = inlays
	var list []Sign
	for _, path := range slices.Sorted(maps.Keys(signs)) {
		list = append(list, signs[path])
	}
	return list
}

// Unsure tells whether somebody has not answered yet whom the last call saw serve a socket.
func (s *Sockets) Unsure() bool {
	return slices.ContainsFunc(s.others, func(o *server) bool { return !o.foreign })
}

// connect reaches who serves a socket now. The connection is never made anew: the path may lead to somebody else by then.
func connect(ctx context.Context, path string, id unixsock.Identity) (*server, error) {
	dial, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	socket, err := unixsock.Dial(dial, path)
	if err != nil {
		return nil, err
	}
	var used atomic.Bool
	conn, err := grpc.NewClient("passthrough:///"+path, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithIdleTimeout(0),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			if used.Swap(true) {
				return nil, net.ErrClosed
			}
			return socket, nil
		}))
	if err != nil {
		socket.Close()
		return nil, err
	}
	end := func() {
		conn.Close()
		socket.Close() // it is nobody's before the first call
	}
	stop := context.AfterFunc(ctx, end)
	return &server{path: path, id: id, conn: conn, close: func() {
		if stop() {
			end()
		}
	}}, nil
}

// ask calls the one method that says something about the plugin and changes nothing. A process that does not answer in
// time is there, and what it is may be known from before.
func (o *server) ask(ctx context.Context, limit time.Duration) (there, inlay bool) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	options, err := v1beta1.NewDevicePluginClient(o.conn).GetDevicePluginOptions(ctx, &v1beta1.Empty{})
	if err != nil {
		return ctx.Err() != nil, false
	}
	o.foreign = !options.GetPreStartRequired()
	return true, !o.foreign
}
