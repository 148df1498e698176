package mappings

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// Load puts the mappings of YAML or JSON files in the place of all that are known. Objects without a namespace are in
// the default one. Mappings that lead nowhere are told as problems, and stay in the table as an API server would keep
// them; anything that is no mapping of fpga.intel.com/v2, or none that an API server would store, is the error, and then
// nothing has changed.
func (x *Index) Load(files []string, defaultNamespace string) (problems []error, err error) {
	l := loader{namespace: defaultNamespace, at: map[string]int{}}
	var failed []error
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			failed = append(failed, fmt.Errorf("mappings: %w", err))
			continue
		}
		for _, d := range split(text) {
			if err := l.document(file, d); err != nil {
				failed = append(failed, fmt.Errorf("%s: %s: %w", file, d, err))
			}
		}
	}
	if len(failed) > 0 {
		return nil, errors.Join(failed...)
	}
	for _, kind := range kinds {
		told := map[string][]record{}
		for _, o := range l.objects {
			if o.Kind() == kind {
				told[o.GetNamespace()] = append(told[o.GetNamespace()], recordOf(o.Object))
			}
		}
		x.replace(kind, told)
	}
	for _, o := range l.objects {
		if ok, _, message, _ := x.Table(o.GetNamespace()).Ready(o.Kind(), o.GetName()); !ok {
			l.problems = append(l.problems, fmt.Errorf("%s: %s leads nowhere: %s", o.origin, show(o), message))
		}
	}
	return l.problems, nil
}

// loader collects what documents hold.
type loader struct {
	namespace string
	objects   []loaded
	at        map[string]int // place in objects by kind, namespace and name
	problems  []error
}

type loaded struct {
	v2.Object
	origin string
}

func show(o v2.Object) string {
	return fmt.Sprintf("%s %s/%s", o.Kind(), o.GetNamespace(), o.GetName())
}

func (l *loader) document(file string, d document) error {
	values, err := d.values()
	if err != nil {
		return err
	}
	for _, value := range values {
		if err := l.value(fmt.Sprintf("%s: %s", file, d), value, metav1.TypeMeta{}); err != nil {
			return err
		}
	}
	return nil
}

// value takes one object, or each of a list. The items of a typed list may leave their type to it.
func (l *loader) value(origin string, value []byte, usual metav1.TypeMeta) error {
	head := struct {
		metav1.TypeMeta `json:",inline"`
		Items           []json.RawMessage `json:"items"`
	}{}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(value, &head); err != nil {
		return fmt.Errorf("no object of Kubernetes: %w", err)
	}
	if head.TypeMeta == (metav1.TypeMeta{}) {
		head.TypeMeta = usual
	}
	items := metav1.TypeMeta{}
	switch typed := head.APIVersion == v2.GroupVersion.String(); {
	case head.APIVersion == "v1" && head.Kind == "List":
	case typed && (head.Kind == string(v2.KindAcceleratorFunction)+"List" || head.Kind == string(v2.KindFpgaRegion)+"List"):
		items = metav1.TypeMeta{APIVersion: head.APIVersion, Kind: strings.TrimSuffix(head.Kind, "List")}
	case typed && head.Kind == string(v2.KindAcceleratorFunction):
		return l.add(origin, value, &v2.AcceleratorFunction{})
	case typed && head.Kind == string(v2.KindFpgaRegion):
		return l.add(origin, value, &v2.FpgaRegion{})
	default:
		return fmt.Errorf("kind %.80q of apiVersion %.80q is no mapping; %s and %s of %s are",
			head.Kind, head.APIVersion, v2.KindAcceleratorFunction, v2.KindFpgaRegion, v2.GroupVersion)
	}
	for i, item := range head.Items {
		if err := l.value(fmt.Sprintf("%s: item %d", origin, i+1), item, items); err != nil {
			return fmt.Errorf("item %d: %w", i+1, err)
		}
	}
	return nil
}

func (l *loader) add(origin string, value []byte, o v2.Object) error {
	strict, err := kjson.UnmarshalStrict(value, o)
	if err == nil {
		err = errors.Join(strict...) // fields that are unknown or there twice
	}
	if err != nil {
		return fmt.Errorf("%s %q: %w", o.Kind(), o.GetName(), err)
	}
	if o.GetNamespace() == "" {
		o.SetNamespace(l.namespace)
	}
	if o.GetName() == "" {
		return fmt.Errorf("%s without metadata.name", o.Kind())
	}
	for _, reason := range validation.NameIsDNSSubdomain(o.GetName(), false) {
		return fmt.Errorf("%s %.80q: metadata.name: %s", o.Kind(), o.GetName(), reason)
	}
	for _, reason := range validation.ValidateNamespaceName(o.GetNamespace(), false) {
		return fmt.Errorf("%s %.80q: metadata.namespace %.80q: %s", o.Kind(), o.GetName(), o.GetNamespace(), reason)
	}
	key := show(o)
	if i, twice := l.at[key]; twice {
		l.problems = append(l.problems, fmt.Errorf("%s: %s is in %s too; the later one counts", origin, key, l.objects[i].origin))
		l.objects[i] = loaded{o, origin}
		return nil
	}
	l.at[key] = len(l.objects)
	l.objects = append(l.objects, loaded{o, origin})
	return nil
}
