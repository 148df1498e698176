package devices

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/nri/pkg/api"
	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/record"
)

// Config is where the adjuster finds things.
type Config struct {
	Root   *hostfs.Root
	RunDir string // as this process sees it
	Log    logrus.FieldLogger
}

// Adjuster answers for containers with devices of more than one resource. It implements engine.Adjuster and is safe for
// concurrent use.
type Adjuster struct{ c Config }

// New makes an adjuster.
func New(c Config) *Adjuster { return &Adjuster{c: c} }

// The domains of the families whose records are joined.
const (
	qatDomain = "qat.intel.com"
	dsaDomain = "dsa.intel.com"
	iaaDomain = "iaa.intel.com"
	gpuDomain = "gpu.intel.com"
)

// numbered is a variable that has one value a device, <prefix>0 to <prefix>n-1 in the order of PCI addresses.
type numbered struct {
	prefix   string
	domains  []string
	resource string // "" = all of the domains
}

var variables = [...]numbered{
	{prefix: "QAT", domains: []string{qatDomain}},
	{prefix: "VFIO_BDF", domains: []string{dsaDomain, iaaDomain}, resource: "vfio"},
}

// Wants claims containers with a record of one of the families, and those of pods that forge one.
func (a *Adjuster) Wants(pod *api.PodSandbox, ctr *api.Container) bool {
	return present(ctr.GetAnnotations()) || present(pod.GetAnnotations())
}

func present(annotations map[string]string) bool {
	return record.PresentOf(qatDomain, annotations) || record.PresentOf(dsaDomain, annotations) ||
		record.PresentOf(iaaDomain, annotations) || record.PresentOf(gpuDomain, annotations)
}

// Adjust implements engine.Adjuster. A record that cannot be read refuses the container, and so does one of the pod's own:
// runtimes that give a pod's annotations to its containers would let it choose the values. So do devices that are others
// now than those of the record.
func (a *Adjuster) Adjust(_ context.Context, pod *api.PodSandbox, ctr *api.Container) (*api.ContainerAdjustment, error) {
	for _, domain := range []string{qatDomain, dsaDomain, iaaDomain, gpuDomain} {
		if record.PresentOf(domain, pod.GetAnnotations()) {
			return nil, fmt.Errorf("the pod itself carries an annotation %s…, which only the device plugin may set", record.KeyFor(domain+"/"))
		}
	}
	if err := a.moved(pod, ctr); err != nil {
		return nil, err
	}
	adjust := &api.ContainerAdjustment{}
	for _, v := range variables {
		if err := v.join(ctr, adjust); err != nil {
			return nil, err
		}
	}
	if err := a.joinLinks(ctr, adjust); err != nil {
		return nil, err
	}
	return adjust, nil
}

// join sets the variables of all of a container's devices, unless they are so already.
func (v numbered) join(ctr *api.Container, adjust *api.ContainerAdjustment) error {
	addresses, err := v.addresses(ctr)
	if err != nil {
		return err
	}
	slices.SortFunc(addresses, byAddress)
	for i, address := range slices.Compact(addresses) {
		name := v.prefix + strconv.Itoa(i)
		if !slices.Contains(ctr.GetEnv(), name+"="+address) {
			adjust.AddEnv(name, address)
		}
	}
	return nil
}

// addresses are those of a container's devices that have such a variable.
func (v numbered) addresses(ctr *api.Container) (addresses []string, err error) {
	for _, domain := range v.domains {
		allocations, err := record.ParseOf(domain, ctr.GetAnnotations())
		if err != nil {
			return nil, err
		}
		for _, allocation := range allocations {
			if v.resource != "" && v.resource != allocation.Resource {
				continue
			}
			for _, d := range allocation.Devices {
				addresses = append(addresses, d.Address)
			}
		}
	}
	return addresses, nil
}

// byAddress is the order of PCI addresses as numbers; their domains may differ in length.
func byAddress(a, b string) int {
	return cmp.Or(cmp.Compare(strings.IndexByte(a, ':'), strings.IndexByte(b, ':')), cmp.Compare(a, b))
}
