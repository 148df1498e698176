package hostile

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/internal/policy"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// Ids of the world: two interfaces, and three functions of which one is the prize.
const (
	ifaceA = "69528db6eb31577a8c3668f9faa081f6"
	ifaceB = "ce48969398f05f33946d560708be108a"

	nlb0  = "d8424dc4a4a3c413f89e433683f9040b"
	nlb3  = "f7df405cbd7acf7222f144b0b93acd18"
	prize = "5ec2e75ec2e75ec2e75ec2e75ec2e75e" // only the namespace vault may have it
)

// Namespaces of the world, by what they may have.
const (
	video   = "video"   // n3o: NLB3 in mode region; n0p: NLB0 in mode af
	audio   = "audio"   // n0o: NLB0 in mode region
	lab     = "lab"     // a10: whole cards of interface A
	studio  = "studio"  // both functions in mode region, on both interfaces, and whole cards of A
	vault   = "vault"   // the prize, in both modes
	attic   = "attic"   // mappings that conflict, that lead nowhere, and with names like resources
	village = "village" // nothing
)

// Resource names with their prefix.
const (
	alias   = v2.Prefix
	regionA = v2.Prefix + "region-" + ifaceA
	regionB = v2.Prefix + "region-" + ifaceB
)

// af is the resource of a port that holds a function.
func af(function string) string {
	name, err := fpga.AFResource(ifaceA, fpga.AFUID(function))
	if err != nil {
		panic(err) // the ids are this file's constants
	}
	return v2.Prefix + name
}

// Namespaces are all namespaces of the world.
func Namespaces() []string { return []string{video, audio, lab, studio, vault, attic, village} }

// Mappings are the mappings of the world. Those that an API server refuses are Invalid.
func Mappings() []v2.Object {
	return []v2.Object{
		function(video, "n3o", v2.ModeRegion, ifaceA, nlb3),
		function(video, "n0p", v2.ModeAF, ifaceA, nlb0),
		function(audio, "n0o", v2.ModeRegion, ifaceA, nlb0),
		region(lab, "a10", ifaceA),
		function(studio, "n3o", v2.ModeRegion, ifaceA, nlb3),
		function(studio, "n0o", v2.ModeRegion, ifaceA, nlb0),
		function(studio, "b3o", v2.ModeRegion, ifaceB, nlb3),
		region(studio, "a10", ifaceA),
		function(vault, "gold", v2.ModeRegion, ifaceA, prize),
		function(vault, "gold-af", v2.ModeAF, ifaceA, prize),
		// The function came first: the name is its.
		function(attic, "twin", v2.ModeRegion, ifaceA, nlb3),
		younger(region(attic, "twin", ifaceB)),
	}
}

// Invalid are mappings that lead nowhere. An API server refuses to create them; one that had them before the rules has
// them still.
func Invalid() []v2.Object {
	return []v2.Object{
		function(attic, "oddmode", "afoo", ifaceA, prize),
		function(attic, "oddid", v2.ModeRegion, ifaceA[:31], prize),
		function(attic, "climber", v2.ModeRegion, ifaceA, "../../"+prize),
		// Its name says interface B, its spec A: who asks for region-<B> must not be taken to have it.
		region(attic, "region-"+ifaceB, ifaceA),
	}
}

// epoch is when the world's mappings were made.
func epoch() metav1.Time {
	return metav1.NewTime(time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC))
}

func function(ns, name string, mode v2.Mode, iface, afu string) v2.Object {
	return &v2.AcceleratorFunction{
		TypeMeta:   metav1.TypeMeta{APIVersion: v2.GroupVersion.String(), Kind: string(v2.KindAcceleratorFunction)},
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, CreationTimestamp: epoch()},
		Spec:       v2.AcceleratorFunctionSpec{Mode: string(mode), InterfaceID: iface, AfuID: afu},
	}
}

func region(ns, name, iface string) v2.Object {
	return &v2.FpgaRegion{
		TypeMeta:   metav1.TypeMeta{APIVersion: v2.GroupVersion.String(), Kind: string(v2.KindFpgaRegion)},
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, CreationTimestamp: epoch()},
		Spec:       v2.FpgaRegionSpec{InterfaceID: iface},
	}
}

func younger(o v2.Object) v2.Object {
	o.SetCreationTimestamp(metav1.NewTime(o.GetCreationTimestamp().Add(time.Minute)))
	return o
}

// Rights are what the mappings of a namespace give. It is worked out here from the mappings' own words, so that the
// runners have a judge that shares nothing with what they test.
type Rights struct{ Namespace string }

// Function tells whether the namespace may have a function of an interface in a mode.
func (r Rights) Function(mode v2.Mode, iface, afu string) bool {
	return slices.ContainsFunc(Mappings(), func(o v2.Object) bool {
		f, ok := o.(*v2.AcceleratorFunction)
		return ok && f.Namespace == r.Namespace && f.Spec.Mode == string(mode) && f.Spec.InterfaceID == iface && f.Spec.AfuID == afu
	})
}

// Region tells whether the namespace may have whole cards of an interface.
func (r Rights) Region(iface string) bool {
	return slices.ContainsFunc(Mappings(), func(o v2.Object) bool {
		f, ok := o.(*v2.FpgaRegion)
		return ok && f.Namespace == r.Namespace && f.Spec.InterfaceID == iface
	})
}

// Resource tells whether any mapping of the namespace leads to a resource.
func (r Rights) Resource(name string) bool {
	return slices.ContainsFunc(Mappings(), func(o v2.Object) bool {
		switch m := o.(type) {
		case *v2.AcceleratorFunction:
			if m.Namespace == r.Namespace && m.Spec.Mode == string(v2.ModeAF) {
				return name == af(m.Spec.AfuID)
			}
			return m.Namespace == r.Namespace && name == v2.Prefix+"region-"+m.Spec.InterfaceID
		case *v2.FpgaRegion:
			return m.Namespace == r.Namespace && name == v2.Prefix+"region-"+m.Spec.InterfaceID
		}
		return false
	})
}

// Policy is the node's copy of the mappings.
func Policy() policy.Policy {
	p := policy.Policy{Format: policy.Format, Synced: time.Now().UTC(), Namespaces: map[string]policy.Namespace{}}
	for _, o := range Mappings() {
		ns := p.Namespaces[o.GetNamespace()]
		switch m := o.(type) {
		case *v2.AcceleratorFunction:
			ns.Functions = append(ns.Functions, policy.Function{
				Name: m.Name, Interface: m.Spec.InterfaceID, Function: m.Spec.AfuID, Mode: policy.Mode(m.Spec.Mode),
			})
		case *v2.FpgaRegion:
			ns.Regions = append(ns.Regions, policy.Region{Name: m.Name, Interface: m.Spec.InterfaceID})
		}
		p.Namespaces[o.GetNamespace()] = ns
	}
	return p
}

// Cards are the cards of a node in a mode, as `fpga-emulator tree` describes them. Wherever a port holds something at
// first, it is the prize: whoever gets a port that was not programmed for him reads it.
func Cards(mode v2.Mode) []string {
	switch mode {
	case v2.ModeAF:
		return []string{fmt.Sprintf("dfl:ports=2,iface=%s,afu=%s/%s", ifaceA, nlb0, prize)}
	case v2.ModeRegion:
		return []string{
			fmt.Sprintf("dfl:ports=1,iface=%s,afu=%s", ifaceA, prize),
			fmt.Sprintf("dfl:ports=1,iface=%s,afu=%s", ifaceA, prize),
			fmt.Sprintf("dfl:ports=1,iface=%s,afu=%s", ifaceB, prize),
		}
	default:
		return []string{fmt.Sprintf("dfl:ports=1,iface=%s,afu=%s", ifaceA, prize)}
	}
}
