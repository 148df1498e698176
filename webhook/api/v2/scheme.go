package v2

import (
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

// Objects are an object of each type that an API server knows under GroupVersion, lists included.
func Objects() []runtime.Object {
	return []runtime.Object{&AcceleratorFunction{}, &AcceleratorFunctionList{}, &FpgaRegion{}, &FpgaRegionList{}}
}
