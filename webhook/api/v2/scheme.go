package v2

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is fpga.intel.com/v2.
var GroupVersion = schema.GroupVersion{Group: "fpga.intel.com", Version: "v2"}

// Resource gives the plural name under which the API server serves a kind.
func (k Kind) Resource() string {
	if k == KindFpgaRegion {
		return "fpgaregions"
	}
	return "acceleratorfunctions"
}

// AddToScheme makes the kinds known to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &AcceleratorFunction{}, &AcceleratorFunctionList{}, &FpgaRegion{}, &FpgaRegionList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
