//go:build integration

package families

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/integration/cluster"
)

// look prints a container's variables, its nodes and links below /dev, what is mounted there, and what its FPGAs hold.
const look = `env
for f in /dev/* /dev/*/* /dev/*/*/*; do
  if [ -L "$f" ]; then echo "link $f $(busybox readlink "$f")"
  elif [ -c "$f" ]; then echo "node $f $(busybox stat -c '%t %T' "$f")"; fi
done
for p in /dev/dfl-port.*; do if [ -c "$p" ]; then echo "holds $p $(afu-read "$p" 2>&1)"; fi; done
while read -r what at type options rest; do echo "mount $at $options"; done < /proc/mounts
if [ -d /dev/dri/by-path ]; then touch /dev/dri/by-path/x 2>/dev/null && echo "link /dev/dri/by-path/x was written"; fi
echo ready
exec sleep 2147483647`

// usual are the nodes that every container has.
var usual = strings.Fields("/dev/console /dev/full /dev/null /dev/pts/ptmx /dev/random /dev/tty /dev/urandom /dev/zero")

// seen is what a container has.
type seen struct {
	Nodes  map[string]string // path → major:minor
	Links  map[string]string // below /dev/dri/by-path: name → target
	Env    map[string]string // those that families set
	Holds  map[string]string // port → AFU id
	ByPath string            // how /dev/dri/by-path is mounted: ro, rw, or not at all
}

// run runs a pod that looks around, and stays.
func (n *node) run(name string, resources map[string]int64) seen {
	n.t.Helper()
	pod := cluster.PodSpec{Name: name, Resources: resources, Script: look}
	n.RunPod(pod)
	var log string
	n.must(n.Await(n.t.Context(), limit, "log of "+name, func(ctx context.Context) (err error) {
		if log, err = n.PodLogs(ctx, "", name); err == nil && !strings.HasSuffix(log, "\nready\n") {
			err = fmt.Errorf("so far: %q", log)
		}
		return err
	}))
	return parse(log)
}

func parse(log string) seen {
	s := seen{Nodes: map[string]string{}, Links: map[string]string{}, Env: map[string]string{}, Holds: map[string]string{}}
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		words := strings.Fields(line)
		name, value, assigned := strings.Cut(line, "=")
		switch {
		case assigned && (strings.HasPrefix(name, "QAT") || strings.HasPrefix(name, "VFIO") || strings.HasPrefix(name, "ZE_")):
			s.Env[name] = value
		case len(words) < 3:
		case words[0] == "node" && !slices.Contains(usual, words[1]):
			var major, minor int
			_, _ = fmt.Sscanf(words[2]+" "+words[3], "%x %x", &major, &minor) // 0:0 is no device of ours
			s.Nodes[words[1]] = fmt.Sprintf("%d:%d", major, minor)
		case words[0] == "link" && strings.HasPrefix(words[1], "/dev/dri/"):
			s.Links[path.Base(words[1])] = words[2]
		case words[0] == "holds":
			s.Holds[path.Base(words[1])] = words[2]
		case words[0] == "mount" && strings.HasPrefix(words[1], "/dev/dri/by-path"):
			s.ByPath, _, _ = strings.Cut(words[2], ",")
		}
	}
	return s
}

// expect is what a pod's container must have, by the devices that the kubelet says it has.
func (n *node) expect(name string) seen {
	n.t.Helper()
	want := seen{Nodes: map[string]string{}, Links: map[string]string{}, Env: map[string]string{}, Holds: map[string]string{}}
	numbered := map[string][]string{} // variable → addresses
	for resource, ids := range n.held(name) {
		domain, _, _ := strings.Cut(resource, ".")
		for _, id := range ids {
			card, share, _ := strings.Cut(id, "-")
			switch {
			case domain == "gpu":
				number, err := strconv.Atoi(strings.TrimPrefix(card, "card"))
				n.must(err)
				render := fmt.Sprintf("renderD%d", 128+number)
				n.node(want, "/dev/dri/"+card)
				n.node(want, "/dev/dri/"+render)
				address := path.Base(n.link("sys/class/drm/" + card + "/device"))
				want.Links["pci-"+address+"-card"], want.Links["pci-"+address+"-render"] = "../"+card, "../"+render
				want.ByPath = "ro"
			case domain == "npu":
				n.node(want, "/dev/accel/"+card)
			case domain == "sgx":
				n.node(want, "/dev/sgx_"+strings.Split(share, "-")[0])
			case domain == "dlb":
				n.node(want, id)
			case domain == "fpga":
				n.node(want, "/dev/dfl-port."+strings.TrimPrefix(id, "dfl-fme."))
			case strings.HasPrefix(id, "wq-user-"):
				queue := strings.Split(id, "-")[3]
				folder := map[string]string{"dsa": "dsa", "iaa": "iax"}[domain]
				n.node(want, "/dev/"+folder+"/"+queue)
				n.node(want, "/dev/char/"+want.Nodes["/dev/"+folder+"/"+queue])
			default: // a PCI function
				n.node(want, "/dev/vfio/vfio")
				n.node(want, "/dev/vfio/"+path.Base(n.link("sys/bus/pci/devices/"+id+"/iommu_group")))
				variable := map[string]string{"qat": "QAT"}[domain]
				if variable == "" {
					variable = "VFIO_BDF"
				}
				numbered[variable] = append(numbered[variable], id)
			}
		}
	}
	for variable, addresses := range numbered {
		for i, address := range slices.Sorted(slices.Values(addresses)) {
			want.Env[fmt.Sprintf("%s%d", variable, i)] = address
		}
	}
	return want
}

// held are the devices of a pod by resource, as the kubelet tells it.
func (n *node) held(pod string) map[string][]string {
	n.t.Helper()
	holders, err := n.Holders(n.t.Context())
	n.must(err)
	all := map[string][]string{}
	for _, h := range holders {
		if h.Pod == pod {
			all[h.Resource] = append(all[h.Resource], h.Devices...)
		}
	}
	return all
}

// givenByCDI are the CDI names in the answers that the kubelet keeps, by resource. An answer has nothing else beside them.
func (n *node) givenByCDI(domain string) map[string][]string {
	n.t.Helper()
	text, err := os.ReadFile(n.HostPath("var/lib/kubelet/device-plugins/kubelet_internal_checkpoint"))
	n.must(err)
	var checkpoint struct {
		Data struct {
			PodDeviceEntries []struct {
				ResourceName string
				AllocResp    []byte // a marshalled ContainerAllocateResponse
			}
		}
	}
	n.must(json.Unmarshal(text, &checkpoint))
	names := map[string][]string{}
	for _, e := range checkpoint.Data.PodDeviceEntries {
		var answer pluginapi.ContainerAllocateResponse
		n.must(proto.Unmarshal(e.AllocResp, &answer))
		if !strings.HasPrefix(e.ResourceName, domain) || len(answer.GetCdiDevices()) == 0 {
			continue
		}
		if len(answer.GetDevices())+len(answer.GetMounts()) > 0 {
			n.t.Errorf("%s was given by CDI and by the kubelet: %v", e.ResourceName, &answer)
		}
		for _, d := range answer.GetCdiDevices() {
			names[e.ResourceName] = append(names[e.ResourceName], d.GetName())
		}
	}
	return names
}

// count gives how many devices of each resource a pod has.
func (n *node) count(pod string) map[string]int64 {
	counts := map[string]int64{}
	for resource, ids := range n.held(pod) {
		counts[resource] = int64(len(ids))
	}
	return counts
}

// node adds a node with the number that it has on the host.
func (n *node) node(s seen, name string) {
	n.t.Helper()
	var stat unix.Stat_t
	n.must(unix.Stat(n.HostPath(name), &stat))
	s.Nodes[name] = fmt.Sprintf("%d:%d", unix.Major(stat.Rdev), unix.Minor(stat.Rdev))
}

func (n *node) link(name string) string {
	n.t.Helper()
	target, err := os.Readlink(n.HostPath(name))
	n.must(err)
	return target
}

// with is a copy of resources with others in place of some.
func with(resources, others map[string]int64, without ...string) map[string]int64 {
	all := maps.Clone(resources)
	maps.Copy(all, others)
	for _, name := range without {
		delete(all, name)
	}
	return all
}
