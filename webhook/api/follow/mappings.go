package follow

import (
	"context"
	"fmt"

	"github.com/sirupsen/logrus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/rest"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/internal/kube"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// Mappings is where the mappings of one kind come from. One whose spec or status cannot be read becomes one without
// either: it leads nowhere, as it must.
type Mappings struct {
	Client rest.Interface // of Client
	Kind   v2.Kind
	// Interface takes the mappings of this interface id only; "" takes all. An API server that cannot select by it
	// (CRD selectable fields came with Kubernetes 1.30) sends all, and the others are left out here.
	Interface fpga.InterfaceID
	Log       logrus.FieldLogger
}

// Requests a second of a client whose config does not say; writing status conditions is what needs them.
const (
	defaultQPS   = 100
	defaultBurst = 200
)

// Client connects to the API group of the mappings. It serves Run and reads and writes single objects.
func Client(c *rest.Config) (rest.Interface, error) {
	config := rest.CopyConfig(c)
	if config.QPS == 0 && config.RateLimiter == nil {
		config.QPS, config.Burst = defaultQPS, defaultBurst
	}
	return kube.Client(config, v2.GroupVersion, v2.Objects()...)
}

// Run tells h what there is and what changes, until ctx ends.
func (m Mappings) Run(ctx context.Context, h Handler[v2.Object]) { m.source().Run(ctx, h) }

func (m Mappings) source() Source[v2.Object] {
	log := m.Log.WithField("kind", m.Kind)
	s := Source[v2.Object]{
		Client: m.Client, Resource: m.Kind.Resource(), What: "mappings", Log: log,
		Decode: mappings{kind: m.Kind, log: log}.object,
	}
	if m.Interface != "" {
		s.Selector = fields.OneTermEqualSelector("spec.interfaceId", string(m.Interface))
		s.Wanted = func(o v2.Object) bool { return interfaceOf(o) == string(m.Interface) }
	}
	return s
}

// mappings reads mappings of one kind.
type mappings struct {
	kind v2.Kind
	log  logrus.FieldLogger
}

// object reads one object and keeps what anybody here needs. One whose spec or status has the wrong form is kept without
// either: it leads nowhere, as it must, and the others are read all the same.
func (m mappings) object(raw []byte) (v2.Object, error) {
	o := m.empty()
	if err := utiljson.Unmarshal(raw, o); err != nil {
		var partial metav1.PartialObjectMetadata
		if e := utiljson.Unmarshal(raw, &partial); e != nil || partial.Name == "" {
			return nil, fmt.Errorf("%s: %w", m.kind, err)
		}
		m.log.WithError(err).WithFields(logrus.Fields{"namespace": partial.Namespace, "name": partial.Name}).
			Warn("this mapping cannot be read; it leads nowhere")
		o = m.empty()
		*meta(o) = partial.ObjectMeta
	}
	all := meta(o)
	*all = metav1.ObjectMeta{
		Namespace: all.Namespace, Name: all.Name, UID: all.UID, ResourceVersion: all.ResourceVersion,
		Generation: all.Generation, CreationTimestamp: all.CreationTimestamp,
	}
	return o, nil
}

func (m mappings) empty() v2.Object {
	if m.kind == v2.KindFpgaRegion {
		return &v2.FpgaRegion{}
	}
	return &v2.AcceleratorFunction{}
}

func meta(o v2.Object) *metav1.ObjectMeta {
	if r, ok := o.(*v2.FpgaRegion); ok {
		r.TypeMeta = metav1.TypeMeta{}
		return &r.ObjectMeta
	}
	f := o.(*v2.AcceleratorFunction)
	f.TypeMeta = metav1.TypeMeta{}
	return &f.ObjectMeta
}

func interfaceOf(o v2.Object) string {
	switch o := o.(type) {
	case *v2.AcceleratorFunction:
		return o.Spec.InterfaceID
	case *v2.FpgaRegion:
		return o.Spec.InterfaceID
	}
	return ""
}
