package checks

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	kjson "sigs.k8s.io/json"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// Kinds of others, as far as deploy/ uses them. Their modules would bring a controller each.
type (
	issuer struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			SelfSigned *struct{} `json:"selfSigned"`
			CA         *struct {
				SecretName string `json:"secretName"`
			} `json:"ca"`
		} `json:"spec"`
	}
	certificate struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			IsCA       bool            `json:"isCA"`
			CommonName string          `json:"commonName"`
			SecretName string          `json:"secretName"`
			Duration   metav1.Duration `json:"duration"`
			DNSNames   []string        `json:"dnsNames"`
			Usages     []string        `json:"usages"`
			PrivateKey struct {
				Algorithm      string `json:"algorithm"`
				Size           int    `json:"size"`
				RotationPolicy string `json:"rotationPolicy"`
			} `json:"privateKey"`
			IssuerRef struct {
				Kind string `json:"kind"`
				Name string `json:"name"`
			} `json:"issuerRef"`
		} `json:"spec"`
	}
	podMonitor struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			Selector            metav1.LabelSelector `json:"selector"`
			PodMetricsEndpoints []struct {
				Port     string          `json:"port"`
				Path     string          `json:"path"`
				Interval metav1.Duration `json:"interval"`
			} `json:"podMetricsEndpoints"`
		} `json:"spec"`
	}
)

// goType makes an empty object of the Go type of a kind; nil where it is none that deploy/ may hold.
func goType(gvk schema.GroupVersionKind) any {
	switch gvk.GroupVersion().String() + "/" + gvk.Kind {
	case "apiextensions.k8s.io/v1/CustomResourceDefinition":
		return &apiextensionsv1.CustomResourceDefinition{}
	case "fpga.intel.com/v2/AcceleratorFunction":
		return &v2.AcceleratorFunction{}
	case "fpga.intel.com/v2/FpgaRegion":
		return &v2.FpgaRegion{}
	case "cert-manager.io/v1/Issuer":
		return &issuer{}
	case "cert-manager.io/v1/Certificate":
		return &certificate{}
	case "monitoring.coreos.com/v1/PodMonitor":
		return &podMonitor{}
	}
	o, err := scheme.Scheme.New(gvk)
	if err != nil {
		return nil
	}
	return o
}

// decode reads an object strictly into its Go type.
func decode(o *unstructured.Unstructured, into any) error {
	data, err := o.MarshalJSON()
	if err != nil {
		return err
	}
	wrong, err := kjson.UnmarshalStrict(data, into)
	if err == nil && len(wrong) > 0 {
		err = fmt.Errorf("%v", wrong)
	}
	return err
}

func TestEveryObjectIsOneOfItsKindAndHasNoOtherFields(t *testing.T) {
	for source, objects := range everything(t) {
		seen := map[string]bool{}
		for _, o := range objects {
			if o.GetName() == "" && o.GetGenerateName() == "" {
				t.Errorf("%s: a %s without a name", source, o.GetKind())
			}
			if seen[id(o)] {
				t.Errorf("%s: %s is there twice", source, id(o))
			}
			seen[id(o)] = true
			into := goType(o.GroupVersionKind())
			if into == nil {
				t.Errorf("%s: %s: no such kind in %s", source, id(o), o.GetAPIVersion())
				continue
			}
			if err := decode(o, into); err != nil {
				t.Errorf("%s: %s: %v", source, id(o), err)
			}
		}
	}
}

func TestAFieldThatDoesNotExistIsFound(t *testing.T) {
	o := parse(t, "test", []byte("{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {selectors: {a: b}}}"))[0]
	if err := decode(o, &corev1.Service{}); err == nil {
		t.Error("spec.selectors was taken")
	}
}

// An object in a namespace that nobody makes cannot be applied at once. The release's own namespace is helm's to make.
func TestEveryOverlayBringsItsNamespaces(t *testing.T) {
	for _, overlay := range overlays(t) {
		namespaces := map[string]bool{}
		objects := kustomized(t, "overlays/"+overlay)
		for _, o := range objects {
			if o.GetKind() == "Namespace" {
				namespaces[o.GetName()] = true
			}
		}
		for _, o := range objects {
			if ns := o.GetNamespace(); ns != "" && !namespaces[ns] {
				t.Errorf("%s: %s is in a namespace that is not among the objects", overlay, id(o))
			}
		}
	}
}
