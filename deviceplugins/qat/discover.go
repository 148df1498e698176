package qat

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/vfio"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/pciaddr"
	"github.com/inlay-project/inlay/internal/topology"
)

// debugfs is the host's, however deep below bridges a card sits.
const debugfs = "/sys/kernel/debug"

// PF is the physical function of a card.
type PF struct {
	Address string
	SysPath string // its real folder
	Driver  string // the kernel driver that has it: "4xxx"
	VFs     int    // that are enabled, whether offered or not
	// Kind is the resource type of its VFs, without the domain.
	Kind string
	// Sick is why its VFs must not be given out, empty while it is well.
	Sick string

	servicesFile string // what Kind was read from, empty if nothing
	servicesErr  error  // why Kind cannot be told: the file says nothing that makes sense
}

// debug is the folder of the PF's driver in debugfs.
func (p *PF) debug() string { return debugfs + "/qat_" + p.Driver + "_" + p.Address }

// status is the file of the PF's heartbeat.
func (p *PF) status() string { return p.debug() + "/heartbeat/status" }

// VF is a virtual function that may become a device.
type VF struct {
	vfio.Device
	PF *PF // nil in a virtual machine
	// Kind is the resource type, without the domain.
	Kind string
	NUMA []int // nil where it cannot be told
	// Err says why it cannot even be looked at.
	Err error
	// NUMAErr says why NUMA is nil.
	NUMAErr error

	obscure bool // Err is that of its card's services
}

// bound reports whether a VF has the driver that it is given out with.
func (v *VF) bound(driver string) bool {
	if driver == DriverVFIO {
		return vfio.IsDriver(v.Driver)
	}
	return v.Driver == driver
}

// sick is why a VF must not be given out.
func (v *VF) sick() string {
	if v.PF != nil {
		return v.PF.Sick
	}
	return ""
}

// Inventory is what discover finds.
type Inventory struct {
	PFs []*PF // in the order of the drivers' flag, then by address
	VFs []VF  // in the order of their PFs, then by number; in a virtual machine by address
	// LeftOut are the addresses of VFs beyond the most that the node may offer: the last ones in that order.
	LeftOut []string
	// Skipped is what could not be read on the way.
	Skipped []plugin.Skipped

	blind bool // the folder of a driver, which may have cards, could not be read
}

// discover looks at the host tree: which VFs of the kinds that the options name are there, up to the most that may be
// offered, and what they can do. It writes nothing. sick tells why a card's VFs must not be given out; see the package's doc.
func discover(root *hostfs.Root, o Options, sick func(*PF) string) Inventory {
	var inv Inventory
	type place struct {
		address string
		dir     string // where its PF's link leads
		pf      *PF
		kind    kind
	}
	var places []place
	for _, k := range o.enabled() {
		for _, pf := range inv.findPFs(root, k) {
			for _, dir := range inv.virtfns(root, pf) {
				pf.VFs++
				address := path.Base(dir)
				if !slices.ContainsFunc(places, func(p place) bool { return p.address == address }) {
					places = append(places, place{address, dir, pf, k})
				}
			}
		}
	}
	if len(inv.PFs) == 0 && !inv.blind { // a virtual machine
		byID := map[string]kind{}
		for _, k := range o.enabled() {
			for _, id := range k.vfIDs {
				byID[id] = k
			}
		}
		found, skipped := vfio.Functions(root, vfio.Intel, func(id string) bool { _, ours := byID[id]; return ours })
		inv.Skipped = append(inv.Skipped, skipped...)
		for _, f := range found {
			places = append(places, place{f.Address, "", nil, byID[f.ID]})
		}
	}
	if len(places) > o.MaxNumDevices {
		for _, p := range places[o.MaxNumDevices:] {
			inv.LeftOut = append(inv.LeftOut, p.address)
		}
		places = places[:o.MaxNumDevices]
	}
	for _, pf := range inv.PFs {
		pf.services(root)
		if pf.VFs > 0 {
			pf.Sick = sick(pf)
		}
	}
	for _, p := range places {
		v := VF{PF: p.pf, Kind: generic}
		if v.Device, v.Err = vfio.Look(root, p.address); v.Err == nil {
			if v.ID == "" && p.dir != "" { // on a host that is the same folder; in a tree of pieces it is not
				v.ID, _ = root.ReadAttr(p.dir + "/device")
			}
			v.Err = o.stranger(v.ID)
			if v.NUMA, v.NUMAErr = topology.OfDevices(root, v.SysPath); v.NUMAErr != nil {
				v.NUMA = nil
			}
		}
		if p.pf != nil && p.kind.services {
			v.Kind = p.pf.Kind
			if v.Err == nil && p.pf.servicesErr != nil {
				v.Err, v.obscure = p.pf.obscure(root), true
			}
		}
		inv.VFs = append(inv.VFs, v)
	}
	return inv
}

// stranger is why a PCI device id is not one of a VF that the options name. An id that no kind lists is a card's newer VF.
func (o Options) stranger(id string) error {
	if id == "" {
		return errors.New("its PCI device id cannot be read")
	}
	digits := strings.TrimPrefix(id, "0x")
	if len(digits) != 4 || strings.Trim(digits, "0123456789abcdef") != "" {
		return fmt.Errorf("%.40q is no PCI device id", id)
	}
	for _, k := range kinds() {
		if slices.Contains(k.vfIDs, "0x"+digits) && !slices.Contains(o.takenFrom(), k.vfDriver) {
			return &vfio.Obstacle{
				Reason: fmt.Sprintf("its PCI device id %s is of the kind %s, which is not among --qat-kernel-vf-drivers", id, k.vfDriver),
				Remedy: "--qat-kernel-vf-drivers=" + strings.Join(append(o.takenFrom(), k.vfDriver), ","),
			}
		}
	}
	return nil
}

// skip notes what could not be read. The error says only why: the path is told beside it.
func (inv *Inventory) skip(path string, err error) {
	inv.Skipped = append(inv.Skipped, plugin.Skipped{Path: path, Reason: cause(err).Error()})
}

// cause is an error without the path, as this process sees it.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// findPFs adds the PFs that a kind's driver has.
func (inv *Inventory) findPFs(root *hostfs.Root, k kind) []*PF {
	folder := vfio.Drivers + "/" + k.pfDriver
	names, err := root.ReadDir(folder)
	if err != nil {
		if !hostfs.Absent(err) {
			inv.skip(folder, err)
			inv.blind = true
		}
		return nil
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !pciaddr.Valid(name) })
	slices.SortFunc(names, vfio.CompareAddresses)
	var pfs []*PF
	for _, name := range names {
		dir, err := root.Resolve(folder + "/" + name)
		if err != nil {
			inv.skip(folder+"/"+name, err)
			continue
		}
		pfs = append(pfs, &PF{Address: name, SysPath: dir, Driver: k.pfDriver, Kind: generic})
	}
	inv.PFs = append(inv.PFs, pfs...)
	return pfs
}

// virtfns gives the folders of a PF's VFs, by number: virtfn2 before virtfn10. Each is named by an address.
func (inv *Inventory) virtfns(root *hostfs.Root, pf *PF) []string {
	names, err := root.ReadDir(pf.SysPath)
	if err != nil {
		inv.skip(pf.SysPath, err)
		return nil
	}
	var numbers []int
	for _, name := range names {
		digits, ok := strings.CutPrefix(name, "virtfn")
		if n, err := strconv.Atoi(digits); ok && err == nil && strconv.Itoa(n) == digits {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	var dirs []string
	for _, n := range numbers {
		link := pf.SysPath + "/virtfn" + strconv.Itoa(n)
		dir, err := root.Resolve(link)
		if err == nil && !pciaddr.Valid(path.Base(dir)) {
			err = fmt.Errorf("it leads to %s, which is no PCI function", dir)
		}
		if err != nil {
			inv.skip(link, err)
			continue
		}
		dirs = append(dirs, dir)
	}
	return dirs
}

// services reads what a PF is configured for: the kernel's attribute where the card is up, else what its driver keeps in
// debugfs.
func (p *PF) services(root *hostfs.Root) {
	if state, err := root.ReadAttr(p.SysPath + "/qat/state"); err == nil && state == "up" {
		file := p.cfgServices()
		if services, err := root.ReadAttr(file); err == nil {
			p.servicesFile = file
			p.Kind, p.servicesErr = ServicesKind(services)
			return
		}
	}
	file := p.debug() + "/dev_cfg"
	text, err := root.ReadFile(file)
	if err != nil {
		return
	}
	if services, found := servicesEnabled(text); found {
		p.servicesFile = file
		p.Kind, p.servicesErr = ServicesKind(services)
	}
}

// cfgServices is the kernel's attribute for the services, which not every driver has.
func (p *PF) cfgServices() string { return p.SysPath + "/qat/cfg_services" }

// obscure is why the VFs of a card whose services cannot be told are not given out: as whatever they were named, a pod
// would ask for something else.
func (p *PF) obscure(root *hostfs.Root) *vfio.Obstacle {
	o := &vfio.Obstacle{
		Reason: fmt.Sprintf("what its card does cannot be told: %s: %v", p.servicesFile, p.servicesErr),
		Remedy: "mend ServicesEnabled in the configuration of the card's driver, and load it anew",
	}
	if root.Exists(p.cfgServices()) {
		state := p.SysPath + "/qat/state"
		o.Remedy = fmt.Sprintf("echo down > %s; echo 'sym;asym' > %s; echo up > %s", state, p.cfgServices(), state)
	}
	return o
}

// grant is what a container gets with a VF that has its driver. promise is for one that has it not, in a look that binds
// nothing: what it would get.
func (v *VF) grant(root *hostfs.Root, driver string, promise bool) (plugin.Grant, error) {
	g := plugin.Grant{Env: vfio.Variables("QAT", []string{v.Address})}
	var err error
	switch {
	case driver == DriverUIO && promise && v.uioName(root) == "":
		err = &vfio.Obstacle{Reason: fmt.Sprintf(
			"it is bound to %s now; inlay-deviceplugin binds it to %s when it runs, and its node is known only then", orNone(v.Driver), driver)}
	case driver == DriverUIO:
		err = v.uio(root, &g, promise)
	case promise:
		g.Nodes, err = v.Promise(root)
	default:
		g.Nodes, err = v.Nodes(root)
	}
	return g, err
}

// uioName is the VF's first uio device, "uio3"; empty where it has none.
func (v *VF) uioName(root *hostfs.Root) string {
	names, err := root.ReadDir(v.SysPath + "/uio")
	if err != nil || len(names) == 0 {
		return ""
	}
	return slices.MinFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) })
}

// uio adds what a VF has that igb_uio has: a node, and the folder that maps its registers. promise is for one whose uio
// device is another driver's yet: the kernel gives its number, being free then, to the next one.
func (v *VF) uio(root *hostfs.Root, g *plugin.Grant, promise bool) error {
	name := v.uioName(root)
	if name == "" {
		return &vfio.Obstacle{Reason: "it has no uio device", Remedy: "dmesg | grep " + v.Address}
	}
	const class = "/sys/class/uio"
	node, dir := "/dev/"+name, class+"/"+name+"/device"
	err := vfio.CheckNode(root, node, class+"/"+name+"/dev")
	// A tree without the class is not a kernel's, in which igb_uio has a device.
	if err != nil && !promise && (!hostfs.Absent(err) || root.Exists(class)) {
		return err
	}
	g.Nodes = []plugin.Node{{HostPath: node, ContainerPath: node, Permissions: "rw"}}
	g.Mounts = []plugin.Mount{{HostPath: dir, ContainerPath: dir}}
	return nil
}
