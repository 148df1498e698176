package follow

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/sirupsen/logrus"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
)

// decoder reads objects of one resource.
type decoder[T Object] struct {
	decode func(raw []byte) (T, error)
	log    logrus.FieldLogger
}

// list reads a list as it arrives, object by object.
func (d decoder[T]) list(r io.Reader, list *internalversion.List) error {
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

func (d decoder[T]) items(dec *json.Decoder, list *internalversion.List) error {
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
		o, err := d.decode(raw)
		if err != nil {
			d.log.WithError(err).Warn("an object of the list cannot be read and is passed over")
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
