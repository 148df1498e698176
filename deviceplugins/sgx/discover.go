package sgx

import (
	"path"
	"strconv"

	"github.com/inlay-project/inlay/deviceplugins/cdi"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/vfio"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// Domain begins the names of this family's resources.
const Domain = "sgx.intel.com/"

// The nodes of the driver in the kernel.
const (
	enclave   = "/dev/sgx_enclave"
	provision = "/dev/sgx_provision"
)

// The CDI device by which a container gets the firmware's variables: a file system of its own type, which the device
// plugin API cannot mount.
const (
	// Kind is that of the family's CDI device.
	Kind     = "intel.cdi.k8s.io/sgx"
	efivarfs = "efivarfs"
)

// Discover tells what of the host's SGX is offered.
func Discover(root *hostfs.Root, o Options) (plugin.Inventory, []plugin.Skipped) {
	inv := plugin.Inventory{}
	var missing []plugin.Skipped
	there := 0
	for _, node := range []string{enclave, provision} {
		switch err := check(root, node); {
		case err == nil:
			there++
		case hostfs.Absent(err):
			missing = append(missing, plugin.Skipped{Path: node, Reason: "it is missing, while the driver's other node is there"})
		default:
			there++ // but of no use
			missing = append(missing, plugin.Skipped{Path: node, Reason: err.Error()})
		}
	}
	switch {
	case there == 0:
		return inv, nil // no SGX is silence
	case len(missing) > 0:
		return inv, missing
	}
	offer(inv, "enclave", o.EnclaveLimit, enclave)
	offer(inv, "provision", o.ProvisionLimit, provision)
	if !o.DCAPInfraResources {
		return inv, nil
	}
	inv[Domain+"qe"] = []plugin.Device{{ID: "qe-1", Grant: grant(enclave, provision)}}
	if o.CDI == cdi.Off {
		return inv, []plugin.Skipped{{Path: Domain + "registration", Reason: "its mount of efivarfs needs CDI, which is off"}}
	}
	registration := grant(enclave, provision)
	registration.CDI = []string{cdi.Name(Kind, efivarfs)}
	inv[Domain+"registration"] = []plugin.Device{{ID: "registration-1", Grant: registration}}
	return inv, nil
}

// check tells why a node cannot be given to a container: it is not there, it is none, or it has another number than sysfs
// says. In a tree made for tests a node may be a plain file.
func check(root *hostfs.Root, node string) error {
	return vfio.CheckNode(root, node, "/sys/class/misc/"+path.Base(node)+"/dev")
}

// offer gives one node to a number of containers. They share one Grant, since they get the same.
func offer(inv plugin.Inventory, name string, limit int, node string) {
	g := grant(node)
	for i := range limit {
		inv[Domain+name] = append(inv[Domain+name], plugin.Device{ID: "sgx-" + name + "-" + strconv.Itoa(i), Grant: g})
	}
}

func grant(nodes ...string) plugin.Grant {
	var g plugin.Grant
	for _, node := range nodes {
		g.Nodes = append(g.Nodes, plugin.Node{HostPath: node, ContainerPath: node, Permissions: "rw"})
	}
	return g
}
