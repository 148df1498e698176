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
// the default one; placed is how many those are. What is wrong with a mapping is told as a problem: a field that nobody knows is dropped, as an API
// server does, and the mapping counts; one that leads nowhere, or would be refused, stays in the table as one that leads
// nowhere. Objects of other API groups are problems too, and passed over: what writes mappings often writes others with
// them. Anything else that is no mapping, or has no place, is the error, and then nothing has changed.
func (x *Index) Load(files []string, defaultNamespace string) (placed int, problems []error, err error) {
	l := loader{namespace: defaultNamespace, at: map[place]int{}}
	var failed []error
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			failed = append(failed, fmt.Errorf("mappings: %w", err))
			continue
		}
		for _, d := range Documents(text) {
			if err := l.document(file, d); err != nil {
				failed = append(failed, fmt.Errorf("%s: %s: %w", file, d, err))
			}
		}
	}
	if len(failed) > 0 {
		return 0, nil, errors.Join(failed...)
	}
	for _, kind := range v2.Kinds() {
		told := map[string][]record{}
		for _, m := range l.mappings {
			if m.kind == kind {
				told[m.namespace] = append(told[m.namespace], m.record)
			}
		}
		x.replace(kind, told)
	}
	for _, m := range l.mappings {
		if ok, _, message, _ := x.Table(m.namespace).Ready(m.kind, m.name); !ok {
			l.problems = append(l.problems, fmt.Errorf("%s: %s leads nowhere: %s", m.origin, m.place, message))
		}
	}
	return l.placed, l.problems, nil
}

// loader collects what documents hold.
type loader struct {
	namespace string
	mappings  []loaded
	at        map[place]int // in mappings
	placed    int           // objects that name no namespace
	problems  []error
}

// place is where a mapping stands; there is one in each.
type place struct {
	kind            v2.Kind
	namespace, name string
}

func (p place) String() string {
	if len(validation.NameIsDNSSubdomain(p.name, false)) > 0 {
		return fmt.Sprintf("%s %s/%.80q", p.kind, p.namespace, p.name)
	}
	return fmt.Sprintf("%s %s/%s", p.kind, p.namespace, p.name)
}

type loaded struct {
	place
	record record
	origin string
}

func (l *loader) document(file string, d Document) error {
	values, err := d.Values()
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
	var head metav1.TypeMeta
	if err := kjson.UnmarshalCaseSensitivePreserveInts(value, &head); err != nil {
		return fmt.Errorf("no object of Kubernetes: %w", err)
	}
	if head == (metav1.TypeMeta{}) {
		head = usual
	}
	group, _, _ := strings.Cut(head.APIVersion, "/")
	switch typed := head.APIVersion == v2.GroupVersion.String(); {
	case head.APIVersion == "v1" && head.Kind == "List":
		return l.items(origin, value, metav1.TypeMeta{})
	case typed && (head.Kind == string(v2.KindAcceleratorFunction)+"List" || head.Kind == string(v2.KindFpgaRegion)+"List"):
		return l.items(origin, value, metav1.TypeMeta{APIVersion: head.APIVersion, Kind: strings.TrimSuffix(head.Kind, "List")})
	case typed && head.Kind == string(v2.KindAcceleratorFunction):
		return l.add(origin, value, &v2.AcceleratorFunction{})
	case typed && head.Kind == string(v2.KindFpgaRegion):
		return l.add(origin, value, &v2.FpgaRegion{})
	case head.Kind != "" && head.APIVersion != "" && group != v2.GroupVersion.Group:
		l.problems = append(l.problems, fmt.Errorf("%s: kind %.80q of apiVersion %.80q is no mapping and is passed over",
			origin, head.Kind, head.APIVersion))
		return nil
	default:
		return fmt.Errorf("kind %.80q of apiVersion %.80q is no mapping; %s and %s of %s are",
			head.Kind, head.APIVersion, v2.KindAcceleratorFunction, v2.KindFpgaRegion, v2.GroupVersion)
	}
}

func (l *loader) items(origin string, value []byte, usual metav1.TypeMeta) error {
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(value, &list); err != nil {
		return fmt.Errorf("no list of Kubernetes: %w", err)
	}
	for i, item := range list.Items {
		if err := l.value(fmt.Sprintf("%s: item %d", origin, i+1), item, usual); err != nil {
			return fmt.Errorf("item %d: %w", i+1, err)
		}
	}
	return nil
}

// add takes a mapping, which is read into o.
func (l *loader) add(origin string, value []byte, o v2.Object) error {
	p, err := l.placeOf(o.Kind(), value)
	if err != nil {
		return err
	}
	// A key that is there twice is an error, as it is in YAML: which one counts?
	twice, malformed := kjson.UnmarshalStrict(value, o, kjson.DisallowDuplicateFields)
	if len(twice) > 0 {
		return fmt.Errorf("%s: %w", p, errors.Join(twice...))
	}
	unknown, _ := kjson.UnmarshalStrict(value, o, kjson.DisallowUnknownFields)
	for _, field := range unknown {
		l.problems = append(l.problems, fmt.Errorf("%s: %s: %w, which does not count", origin, p, field))
	}
	m := loaded{p, recordOf(o), origin}
	m.record.name = p.name
	reasons := validation.NameIsDNSSubdomain(p.name, false)
	switch {
	case malformed != nil:
		m.record.refuse(wrongType(malformed))
	case len(reasons) > 0 && m.record.invalid == nil:
		m.record.refuse("metadata.name: " + reasons[0])
	}
	if i, twice := l.at[p]; twice {
		l.problems = append(l.problems, fmt.Errorf("%s: %s is in %s too; the later one counts", origin, p, l.mappings[i].origin))
		l.mappings[i] = m
		return nil
	}
	l.at[p] = len(l.mappings)
	l.mappings = append(l.mappings, m)
	return nil
}

// placeOf reads no more than it has to: a mapping with something wrong elsewhere still has a place.
func (l *loader) placeOf(kind v2.Kind, value []byte) (place, error) {
	var o struct {
		Metadata struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"metadata"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(value, &o); err != nil {
		return place{}, fmt.Errorf("%s: %s", kind, wrongType(err))
	}
	p := place{kind, o.Metadata.Namespace, o.Metadata.Name}
	if p.namespace == "" {
		p.namespace = l.namespace
		l.placed++
	}
	if p.name == "" {
		return place{}, fmt.Errorf("%s without metadata.name", kind)
	}
	for _, reason := range validation.ValidateNamespaceName(p.namespace, false) {
		return place{}, fmt.Errorf("%s %.80q: metadata.namespace %.80q: %s", kind, p.name, p.namespace, reason)
	}
	return p, nil
}

// refuse makes a mapping one that leads nowhere, because an API server would not store it.
func (r *record) refuse(message string) {
	reason := v2.ReasonInvalidName
	if r.invalid != nil {
		reason = r.invalid.Reason
	}
	r.invalid = &v2.InvalidError{Reason: reason, Message: message}
}

func wrongType(err error) string {
	if t := (*json.UnmarshalTypeError)(nil); errors.As(err, &t) && t.Field != "" {
		return fmt.Sprintf("%s cannot be of type %s", t.Field, t.Value)
	}
	return err.Error()
}
