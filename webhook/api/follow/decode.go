package follow

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/sirupsen/logrus"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// decoder reads objects of one kind.
type decoder struct {
	kind v2.Kind
	log  logrus.FieldLogger
}

// object reads one object and keeps what anybody here needs. One whose spec or status has the wrong form is kept without
// either: it leads nowhere, as it must, and the others are read all the same.
func (d decoder) object(raw []byte) (v2.Object, error) {
	o := d.empty()
	if err := utiljson.Unmarshal(raw, o); err != nil {
		var partial metav1.PartialObjectMetadata
		if e := utiljson.Unmarshal(raw, &partial); e != nil || partial.Name == "" {
			return nil, fmt.Errorf("%s: %w", d.kind, err)
		}
		d.log.WithError(err).WithFields(logrus.Fields{"namespace": partial.Namespace, "name": partial.Name}).
			Warn("this mapping cannot be read; it leads nowhere")
		o = d.empty()
		*meta(o) = partial.ObjectMeta
	}
	m := meta(o)
	*m = metav1.ObjectMeta{
		Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion,
		Generation: m.Generation, CreationTimestamp: m.CreationTimestamp,
	}
	return o, nil
}

func (d decoder) empty() v2.Object {
	if d.kind == v2.KindFpgaRegion {
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

// list reads a list as it arrives, object by object.
func (d decoder) list(r io.Reader, list *internalversion.List) error {
	dec := json.NewDecoder(r)
	if err := delim(dec, '{'); err != nil {
		return err
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		switch key {
		case "metadata":
			err = dec.Decode(&list.ListMeta)
		case "items":
			err = d.items(dec, list)
		default:
			var skipped json.RawMessage
			err = dec.Decode(&skipped)
		}
		if err != nil {
			return fmt.Errorf("%v: %w", key, err)
		}
	}
	if err := delim(dec, '}'); err != nil {
		return err
	}
	if list.ResourceVersion == "" {
		return errors.New("the answer is no list: it has no resourceVersion")
	}
	return nil
}

func (d decoder) items(dec *json.Decoder, list *internalversion.List) error {
	t, err := dec.Token()
	if err != nil || t == nil { // null is how an empty list may look
		return err
	}
	if t != json.Delim('[') {
		return fmt.Errorf("%v where a list begins", t)
	}
	var raw json.RawMessage
	for dec.More() {
		if err := dec.Decode(&raw); err != nil {
			return err
		}
		o, err := d.object(raw)
		if err != nil {
			d.log.WithError(err).Warn("a mapping without a name is passed over")
			continue
		}
		list.Items = append(list.Items, o)
	}
	return delim(dec, ']')
}

func delim(dec *json.Decoder, want json.Delim) error {
	t, err := dec.Token()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	if t != want {
		return fmt.Errorf("%v where %v belongs", t, want)
	}
	return nil
}
