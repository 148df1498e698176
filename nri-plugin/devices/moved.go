package devices

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/containerd/nri/pkg/api"

	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/pciaddr"
	"github.com/inlay-project/inlay/internal/record"
)

const (
	pciDevices = "/sys/bus/pci/devices"
	drmClass   = "/sys/class/drm"
	vfioClass  = "/sys/class/vfio"
	cdevClass  = "/sys/class/vfio-dev"
	uioClass   = "/sys/class/uio"
	vfioFolder = "/dev/vfio/"
	cdevFolder = "/dev/vfio/devices/"
	uioPrefix  = "/dev/uio"

	notThere = "it is not there now"
	anew     = "delete the pod, so that a device is allocated anew"
)

var errNotThere = errors.New(notThere)

// The kubelet keeps the answer of Allocate as long as the pod lives, over reboots too, while the kernel gives out the
// numbers of IOMMU groups, of VFIO's and UIO's nodes and of GPUs anew at each boot. The addresses in the records stay
// true: what they lead to now is compared with what the container is about to get. Families give such nodes to the
// runtime one by one and never as CDI devices, so that the request shows all of them.

// moved refuses a container of whose devices one is gone, or has another node now than the one that was allocated with
// it. What cannot be seen is held against nobody.
func (a *Adjuster) moved(pod *api.PodSandbox, ctr *api.Container) error {
	functions, cards, err := allocated(ctr)
	if err != nil || len(functions)+len(cards) == 0 {
		return err
	}
	refusal, unseen := a.compare(functions, cards, nodesOf(ctr))
	if unseen != nil {
		a.c.Log.WithError(unseen).WithField("pod", pod.GetNamespace()+"/"+pod.GetName()).WithField("container", ctr.GetName()).
			Warn("whether allocated devices are the same as they were cannot be seen, so the container gets them as they are")
	}
	return refusal
}

// allocated gives the PCI functions that a container has by VFIO or UIO, and its GPUs, of each card one share.
func allocated(ctr *api.Container) (functions []string, cards []record.Device, err error) {
	for _, v := range variables {
		addresses, err := v.addresses(ctr)
		if err != nil {
			return nil, nil, err
		}
		functions = append(functions, addresses...)
	}
	allocations, err := record.ParseOf(gpuDomain, ctr.GetAnnotations())
	for _, allocation := range allocations {
		for _, d := range allocation.Devices {
			d.ID, _, _ = strings.Cut(d.ID, "-") // card0-1 is a share of card0
			if !slices.Contains(cards, d) {
				cards = append(cards, d)
			}
		}
	}
	return functions, cards, err
}

// compare looks at all devices. The first that is another one now is the refusal. The first that cannot be looked at is
// unseen, and keeps none of the others from being looked at.
func (a *Adjuster) compare(functions []string, cards []record.Device, given nodes) (refusal, unseen error) {
	if !a.c.Root.Exists(pciDevices) {
		return nil, fmt.Errorf("%s is not there", a.c.Root.Join(pciDevices))
	}
	judge := func(device, wrong string, err error) {
		switch {
		case wrong != "" && refusal == nil:
			refusal = fmt.Errorf("allocated device %s: %s; %s", device, wrong, anew)
		case err != nil && unseen == nil:
			unseen = fmt.Errorf("%s: %w", device, err)
		}
	}
	for _, address := range functions {
		wrong, err := a.lookAtFunction(address, given)
		judge(address, wrong, err)
	}
	for _, card := range cards {
		wrong, err := a.lookAtCard(card)
		judge(card.ID, wrong, err)
	}
	return refusal, unseen
}

// gone tells whether the bus, which is there, has no such function.
func (a *Adjuster) gone(address string) bool {
	_, err := a.c.Root.Readlink(pciDevices + "/" + address)
	return hostfs.Absent(err)
}

// lookAtFunction says why a function's nodes are not among those that a container is about to get. Where the function is
// gone its nodes are somebody else's, or are gone too: then it is the runtime that can create no such container.
func (a *Adjuster) lookAtFunction(address string, given nodes) (wrong string, err error) {
	if a.gone(address) {
		if a.known(given) {
			return notThere, nil
		}
		return "", errNotThere
	}
	f, err := a.look(address)
	if err != nil {
		return "", err
	}
	return given.contradict(f), nil
}

// known tells whether the host has a device for one of the nodes.
func (a *Adjuster) known(given nodes) bool {
	for class, paths := range map[string][]string{vfioClass: given.groups, cdevClass: given.cdevs, uioClass: given.uios} {
		for _, p := range paths {
			if a.c.Root.Exists(class + "/" + path.Base(p)) {
				return true
			}
		}
	}
	return false
}

// function is which nodes the host has for a PCI function now.
type function struct {
	group string // of its IOMMU group; empty without one
	made  bool   // there is such a node: a driver of VFIO has the function, and the kernel makes nodes of groups
	cdevs []string
	uios  []string
}

func (a *Adjuster) look(address string) (f function, err error) {
	root := a.c.Root
	dir, err := root.Resolve(pciDevices + "/" + address)
	if err != nil {
		return f, err
	}
	group, err := root.Readlink(dir + "/iommu_group")
	switch {
	case err == nil:
		name := path.Base(group)
		if noiommu := "noiommu-" + name; root.Exists(vfioClass + "/" + noiommu) {
			name = noiommu
		}
		f.group, f.made = vfioFolder+name, root.Exists(vfioClass+"/"+name)
	case !hostfs.Absent(err):
		return f, err
	}
	for folder, nodes := range map[string]*[]string{"vfio-dev": &f.cdevs, "uio": &f.uios} {
		names, err := root.ReadDir(dir + "/" + folder)
		if err != nil && !hostfs.Absent(err) {
			return f, err
		}
		for _, name := range names {
			switch {
			case folder == "uio":
				*nodes = append(*nodes, "/dev/"+name)
			case root.Exists(dir + "/vfio-dev/" + name + "/dev"): // else the kernel was built without them
				*nodes = append(*nodes, cdevFolder+name)
			}
		}
	}
	return f, nil
}

// nodes are those of VFIO and UIO that a container is about to get, by their paths.
type nodes struct{ groups, cdevs, uios []string }

func nodesOf(ctr *api.Container) (n nodes) {
	for _, d := range ctr.GetLinux().GetDevices() {
		switch p := d.GetPath(); {
		case p == vfioFolder+"vfio": // everybody's
		case strings.HasPrefix(p, cdevFolder):
			n.cdevs = append(n.cdevs, p)
		case strings.HasPrefix(p, vfioFolder):
			n.groups = append(n.groups, p)
		case strings.HasPrefix(p, uioPrefix):
			n.uios = append(n.uios, p)
		}
	}
	return n
}

// contradict says why these are not the nodes of a function; empty if they may be. There may be further ones among them,
// of somebody else's devices.
func (n nodes) contradict(f function) string {
	given := slices.Concat(n.groups, n.cdevs, n.uios)
	group, cdev, uio := slices.Contains(n.groups, f.group), common(n.cdevs, f.cdevs), common(n.uios, f.uios)
	switch {
	case len(given) == 0, uio:
		return ""
	case group && (cdev || len(f.cdevs) == 0 || len(n.cdevs) == 0):
		return ""
	case cdev && (len(n.groups) == 0 || !f.made): // a kernel that makes no nodes of groups
		return ""
	}
	now := slices.Concat(f.cdevs, f.uios)
	if f.group != "" {
		now = append([]string{f.group}, now...)
	}
	if len(now) == 0 {
		return fmt.Sprintf("it is in no IOMMU group now, and the container would get %s", strings.Join(given, ", "))
	}
	return fmt.Sprintf("its node is %s now, and the container would get %s", strings.Join(now, ", "), strings.Join(given, ", "))
}

func common(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// lookAtCard compares a GPU's address with the one that has its number now.
func (a *Adjuster) lookAtCard(card record.Device) (wrong string, err error) {
	if a.gone(card.Address) {
		if a.c.Root.Exists(drmClass + "/" + card.ID) {
			return notThere, nil
		}
		return "", errNotThere
	}
	device, err := a.c.Root.Resolve(drmClass + "/" + card.ID + "/device")
	if err != nil {
		return "", err
	}
	if now := path.Base(device); pciaddr.Valid(now) && now != card.Address {
		return fmt.Sprintf("it is at %s now, it was allocated at %s", now, card.Address), nil
	}
	return "", nil
}
