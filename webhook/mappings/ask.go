package mappings

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
	webhook "github.com/inlay-project/inlay/webhook/fpga"
)

// mostByIDs is how many mappings of the same ids are read: any one of them will do, unless it is of another mode.
const mostByIDs = 8

// Ask asks by a client of the mappings' API group. By a name it is one GET of that object; by ids, one list of its
// namespace that the API server narrows to them, which not all can (Kubernetes before 1.30): then there are none.
// An object that cannot be read is none either: the watch will tell what is wrong with it.
func Ask(client rest.Interface) Asker {
	return func(ctx context.Context, kind v2.Kind, namespace string, s webhook.Sought) ([]v2.Object, error) {
		request := client.Get().Namespace(namespace).Resource(kind.Resource()).MaxRetries(0)
		if s.Name != "" {
			request.Name(s.Name)
		} else {
			request.VersionedParams(&metav1.ListOptions{FieldSelector: selector(s), Limit: mostByIDs}, metav1.ParameterCodec)
		}
		answer, err := request.Do(ctx).Raw()
		switch {
		case apierrors.IsNotFound(err), s.Name == "" && apierrors.IsBadRequest(err):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("%s %s: %w", kind, s.Name, err)
		}
		texts := []json.RawMessage{answer}
		if s.Name == "" {
			var list struct {
				Items []json.RawMessage `json:"items"`
			}
			if err := json.Unmarshal(answer, &list); err != nil {
				return nil, fmt.Errorf("list of %s: %w", kind.Resource(), err)
			}
			texts = list.Items
		}
		return objectsOf(kind, texts), nil
	}
}

func selector(s webhook.Sought) string {
	ids := []fields.Selector{fields.OneTermEqualSelector("spec.interfaceId", string(s.Interface))}
	if s.Function != "" {
		ids = append(ids, fields.OneTermEqualSelector("spec.afuId", string(s.Function)))
	}
	return fields.AndSelectors(ids...).String()
}

func objectsOf(kind v2.Kind, texts []json.RawMessage) []v2.Object {
	var objects []v2.Object
	for _, text := range texts {
		var o v2.Object = &v2.AcceleratorFunction{}
		if kind == v2.KindFpgaRegion {
			o = &v2.FpgaRegion{}
		}
		if json.Unmarshal(text, o) == nil && o.GetName() != "" {
			objects = append(objects, o)
		}
	}
	return objects
}
