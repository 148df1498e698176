package v2

import (
	"fmt"
	"regexp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/inlay-project/inlay/fpga"
)

// Prefix begins the name of every resource that a mapping can stand for, and of every resource that it leads to.
const Prefix = "fpga.intel.com/"

// ModeLabel is the node label with the mode that a node's cards are in.
const ModeLabel = Prefix + "mode"

// Kind is the kind of a mapping.
type Kind string

// The two kinds of mappings. They share one space of names in each namespace.
const (
	KindAcceleratorFunction Kind = "AcceleratorFunction"
	KindFpgaRegion          Kind = "FpgaRegion"
)

// Kinds gives both, always in this order.
func Kinds() [2]Kind { return [...]Kind{KindAcceleratorFunction, KindFpgaRegion} }

// Mode is how a container gets what a mapping leads to; it is also the mode of the nodes that can serve it.
type Mode string

// The modes. ModeRegionDevel is what an FpgaRegion stands for.
const (
	ModeAF          Mode = "af"
	ModeRegion      Mode = "region"
	ModeRegionDevel Mode = "regiondevel"
)

// Reasons of the condition Ready.
const (
	ReasonLeadsToResource    = "LeadsToResource" // the only one with status True
	ReasonInvalidMode        = "InvalidMode"
	ReasonInvalidInterfaceID = "InvalidInterfaceId"
	ReasonInvalidAfuID       = "InvalidAfuId"
	ReasonInvalidName        = "InvalidName"
	ReasonNameConflict       = "NameConflict"
)

// ConditionReady is the type of the one condition.
const ConditionReady = "Ready"

// Target is where a mapping leads.
//
// +kubebuilder:object:generate=false
type Target struct {
	Mode      Mode
	Interface fpga.InterfaceID
	Function  fpga.FunctionID // "" of an FpgaRegion
	Resource  string          // with the prefix: fpga.intel.com/region-…
}

// InvalidError is the error of a mapping that leads nowhere.
//
// +kubebuilder:object:generate=false
type InvalidError struct {
	Reason  string // of the condition Ready
	Message string
}

func (e *InvalidError) Error() string { return e.Message }

// Object is an AcceleratorFunction or an FpgaRegion.
//
// +kubebuilder:object:generate=false
type Object interface {
	metav1.Object
	runtime.Object
	Kind() Kind
	// Lead says where the mapping leads; the error is an *InvalidError. It looks at this object alone: that an older object
	// has the same name is not seen here.
	Lead() (Target, error)
	// State is the object's status, to be read or changed.
	State() *MappingStatus
}

// Kind implements Object.
func (*AcceleratorFunction) Kind() Kind { return KindAcceleratorFunction }

// Kind implements Object.
func (*FpgaRegion) Kind() Kind { return KindFpgaRegion }

// State implements Object.
func (f *AcceleratorFunction) State() *MappingStatus { return &f.Status }

// State implements Object.
func (r *FpgaRegion) State() *MappingStatus { return &r.Status }

// afuPattern is wider than what a file can have (32 or 40 digits): objects of any length from 8 to 40 have always been
// taken in mode region, where the id is the name of a file and decides nothing about the resource.
var afuPattern = regexp.MustCompile(`^[0-9a-f]{8,40}$`)

// Lead implements Object.
func (f *AcceleratorFunction) Lead() (Target, error) {
	t := Target{Mode: Mode(f.Spec.Mode), Function: fpga.FunctionID(f.Spec.AfuID)}
	if t.Mode != ModeAF && t.Mode != ModeRegion {
		return Target{}, &InvalidError{ReasonInvalidMode, fmt.Sprintf("mode %.40q is neither af nor region", f.Spec.Mode)}
	}
	var err error
	if t.Interface, err = interfaceID(f.Spec.InterfaceID); err != nil {
		return Target{}, err
	}
	if !afuPattern.MatchString(f.Spec.AfuID) {
		return Target{}, &InvalidError{ReasonInvalidAfuID, fmt.Sprintf("afuId %.80q is not 8 to 40 lowercase hex digits", f.Spec.AfuID)}
	}
	name := fpga.RegionResource(t.Interface)
	if t.Mode == ModeAF {
		afu, ok := t.Function.AFU()
		if !ok {
			return Target{}, &InvalidError{
				ReasonInvalidAfuID,
				fmt.Sprintf("afuId %s has %d digits; in mode af it is what a card's afu_id shows, which has 32", f.Spec.AfuID, len(f.Spec.AfuID)),
			}
		}
		if name, err = fpga.AFResource(t.Interface, afu); err != nil {
			return Target{}, &InvalidError{ReasonInvalidAfuID, err.Error()}
		}
	}
	t.Resource = Prefix + name
	if err := usableName(KindAcceleratorFunction, f.Name, t); err != nil {
		return Target{}, err
	}
	return t, nil
}

// Lead implements Object.
func (r *FpgaRegion) Lead() (Target, error) {
	t := Target{Mode: ModeRegionDevel}
	var err error
	if t.Interface, err = interfaceID(r.Spec.InterfaceID); err != nil {
		return Target{}, err
	}
	t.Resource = Prefix + fpga.RegionResource(t.Interface)
	if err := usableName(KindFpgaRegion, r.Name, t); err != nil {
		return Target{}, err
	}
	return t, nil
}

func interfaceID(s string) (fpga.InterfaceID, error) {
	id, err := fpga.ParseInterfaceID(s)
	if err != nil || string(id) != s {
		return "", &InvalidError{ReasonInvalidInterfaceID, fmt.Sprintf("interfaceId %.80q is not 32 lowercase hex digits", s)}
	}
	return id, nil
}

// usableName tells whether a container can ask for a mapping by its name. The name of a resource would make a
// container's own words ambiguous: is region-… the region, or the mapping? Only where both are the same it may be.
func usableName(kind Kind, name string, t Target) error {
	if name == "" || len(name) > 63 {
		return &InvalidError{ReasonInvalidName, fmt.Sprintf("name %.80q has %d characters; a resource's has 1 to 63", name, len(name))}
	}
	if _, _, err := fpga.ParseResource(name); err != nil {
		return nil //nolint:nilerr // the usual case: no resource is called so
	}
	if kind == KindFpgaRegion && name == strings.TrimPrefix(t.Resource, Prefix) {
		return nil
	}
	return &InvalidError{ReasonInvalidName, fmt.Sprintf("name %s is that of a resource; choose another", name)}
}
