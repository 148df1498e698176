package epc

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"

	"github.com/sirupsen/logrus"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

const (
	domain = "sgx.intel.com/"
	// Resource is the resource whose limits are read.
	Resource = domain + "epc"
)

const (
	// mostBytes is more than any machine has.
	mostBytes = 1 << 50
	// mostContainers of a pod have a limit. A pod with more is no pod with enclaves: the node would refuse it.
	mostContainers = 256
)

// Pod is what is read of a pod. It implements follow.Object: of ObjectMeta it has namespace, name and resource version.
type Pod struct {
	metav1.ObjectMeta
	// RuntimeUID is the UID that the kubelet gives the runtime. It is another than the object's for a static pod, of which
	// the API server has a copy.
	RuntimeUID string
	// Static says that the object is such a copy. What it says of itself anybody could say who may create pods.
	Static bool
	// Enclaves says that a container has anything of SGX, and that the pod has not ended for good.
	Enclaves bool
	// Limits are those of Resource, in bytes, by container; init containers too. nil if there are none.
	Limits map[string]int64
}

// GetObjectKind implements runtime.Object.
func (*Pod) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject implements runtime.Object.
func (p *Pod) DeepCopyObject() runtime.Object {
	c := *p
	p.DeepCopyInto(&c.ObjectMeta)
	c.Limits = maps.Clone(p.Limits)
	return &c
}

// Reads tells by their keys the members that Decode reads, beside a pod's name and version.
func Reads(key string) bool {
	switch key {
	case "uid", mirrorAnnotation, hashAnnotation, "spec", "containers", "initContainers", "resources", "limits", "requests", "phase":
		return true
	}
	return strings.HasPrefix(key, domain)
}

// Annotations of the kubelet, of a static pod's copy.
const (
	mirrorAnnotation = "kubernetes.io/config.mirror"
	hashAnnotation   = "kubernetes.io/config.hash"
)

// meta is as much as is read of a pod's metadata. The annotations are the kubelet's, of a static pod's copy
// (k8s.io/kubernetes/pkg/kubelet/types).
type meta struct {
	Namespace       string `json:"namespace"`
	Name            string `json:"name"`
	UID             string `json:"uid"`
	ResourceVersion string `json:"resourceVersion"`
	Annotations     struct {
		Mirror *string `json:"kubernetes.io/config.mirror"`
		Hash   string  `json:"kubernetes.io/config.hash"`
	} `json:"annotations"`
}

type container struct {
	Name      string `json:"name"`
	Resources struct {
		Limits   map[string]json.RawMessage `json:"limits"`
		Requests map[string]json.RawMessage `json:"requests"`
	} `json:"resources"`
}

// Decode reads a pod, in JSON. A pod that only is not as expected becomes one without enclaves, whose containers get none
// as long as their limits are not known; an error is a pod without a name.
func Decode(raw []byte, log logrus.FieldLogger) (*Pod, error) {
	var pod struct {
		Metadata meta `json:"metadata"`
		Spec     struct {
			Containers     []container `json:"containers"`
			InitContainers []container `json:"initContainers"` // sidecars are among them
		} `json:"spec"`
		Status struct {
			Phase string `json:"phase"`
		} `json:"status"`
	}
	// Names of fields, resources and annotations count as they are written: sgx.intel.com/EPC is another resource.
	err := utiljson.Unmarshal(raw, &pod)
	if err != nil {
		var named struct {
			Metadata meta `json:"metadata"`
		}
		if e := utiljson.Unmarshal(raw, &named); e != nil {
			return nil, fmt.Errorf("pod: %w", err)
		}
		pod.Metadata = named.Metadata
		pod.Spec.Containers, pod.Spec.InitContainers = nil, nil
	}
	m := pod.Metadata
	if m.Name == "" {
		return nil, errors.New("pod: it has no name")
	}
	log = log.WithFields(logrus.Fields{"namespace": m.Namespace, "pod": m.Name})
	if err != nil {
		log.WithError(err).Warn("this pod cannot be read; its containers get no enclaves")
	}
	p := &Pod{RuntimeUID: m.UID}
	p.Namespace, p.Name, p.ResourceVersion = m.Namespace, m.Name, m.ResourceVersion
	if m.Annotations.Mirror != nil {
		p.Static, p.RuntimeUID = true, cmp.Or(m.Annotations.Hash, m.UID)
	}
	if pod.Status.Phase == "Succeeded" || pod.Status.Phase == "Failed" {
		return p, nil
	}
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		p.add(c, log.WithField("container", c.Name))
	}
	if len(p.Limits) > mostContainers {
		log.Warnf("this pod has limits of %s for more than %d containers; they get no enclaves", Resource, mostContainers)
		p.Enclaves, p.Limits = false, nil
	}
	return p, nil
}

// add takes what a container has.
func (p *Pod) add(c container, log logrus.FieldLogger) {
	for _, amounts := range []map[string]json.RawMessage{c.Resources.Limits, c.Resources.Requests} {
		for name := range amounts {
			p.Enclaves = p.Enclaves || strings.HasPrefix(name, domain)
		}
	}
	text, ok := c.Resources.Limits[Resource]
	if !ok {
		return
	}
	limit, err := bytes(text)
	if err != nil {
		log.WithError(err).Debugf("this limit of %s limits nothing", Resource)
		return
	}
	if p.Limits == nil {
		p.Limits = map[string]int64{}
	}
	p.Limits[c.Name] = limit
}

// amount is how quantities look, with or without quotes, that an API server sends. Parsing one with an exponent of nine
// digits takes for ever.
var amount = regexp.MustCompile(`^"?[+-]?[0-9.]{1,30}([a-zA-Z]{0,2}|[eE][+-]?[0-9]{1,2})"?$`)

// bytes gives the number that a quantity is, a fraction rounded up.
func bytes(text []byte) (int64, error) {
	var q resource.Quantity
	if !amount.Match(text) {
		return 0, fmt.Errorf("%.40s is no quantity", text)
	}
	if err := q.UnmarshalJSON(text); err != nil {
		return 0, fmt.Errorf("%s: %w", text, err)
	}
	if q.Sign() <= 0 || q.CmpInt64(mostBytes) > 0 {
		return 0, fmt.Errorf("%s is not more than 0 and at most %d", text, int64(mostBytes))
	}
	return q.Value(), nil
}
