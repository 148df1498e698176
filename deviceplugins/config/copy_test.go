package config

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fill gives every list, map and pointer below v something to share.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				fill(f)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 4))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value)
		v.SetMapIndex(reflect.Zero(v.Type().Key()), value)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	default:
	}
}

// shared names what two values of a type have in common, and how many places there were that could be.
func shared(path string, a, b reflect.Value) (names []string, places int) {
	add := func(path string, a, b reflect.Value) {
		n, p := shared(path, a, b)
		names, places = append(names, n...), places+p
	}
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			add(path+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i))
		}
		return names, places
	case reflect.Slice:
		for i := range a.Len() {
			add(fmt.Sprintf("%s[%d]", path, i), a.Index(i), b.Index(i))
		}
	case reflect.Map:
		for key, value := range a.Seq2() {
			add(fmt.Sprintf("%s[%v]", path, key), value, b.MapIndex(key))
		}
	case reflect.Pointer:
		add(path, a.Elem(), b.Elem())
	case reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return []string{path + " is of a kind that is not copied: " + a.Kind().String()}, 1
	default:
		return nil, 0
	}
	if a.UnsafePointer() == b.UnsafePointer() {
		names = append(names, path)
	}
	return names, places + 1
}

// An override for one node, decoded into a list of everybody's, changed what all other nodes have.
func TestACopyOfTheSettingsSharesNoListWithThem(t *testing.T) {
	var s Settings
	fill(reflect.ValueOf(&s).Elem())
	c := s.copied()
	if d := cmp.Diff(s, c); d != "" {
		t.Errorf("not the same: %s", d)
	}
	names, places := shared("Settings", reflect.ValueOf(s), reflect.ValueOf(c))
	if len(names) > 0 || places < 2 {
		t.Errorf("%d of %d are shared: %v", len(names), places, names)
	}
	if names, _ := shared("Settings", reflect.ValueOf(s), reflect.ValueOf(s)); len(names) < 2 {
		t.Errorf("what is shared is not found: %v", names)
	}
	if d := cmp.Diff(Settings{}, Settings{}.copied()); d != "" {
		t.Errorf("of nothing: %s", d)
	}
}

// Maps and pointers, which no settings have yet.
func TestUnshareGoesByTheType(t *testing.T) {
	type inner struct{ Names []string }
	type all struct {
		Maps  map[string][]inner
		To    *inner
		Array [2]inner
	}
	a := all{Maps: map[string][]inner{"x": {{Names: []string{"a"}}}}, To: &inner{Names: []string{"b"}}, Array: [2]inner{{Names: []string{"c"}}, {}}}
	b := a
	unshare(reflect.ValueOf(&b).Elem())
	b.Maps["x"][0].Names[0], b.To.Names[0], b.Array[0].Names[0] = "-", "-", "-"
	b.Maps["y"] = nil
	want := all{Maps: map[string][]inner{"x": {{Names: []string{"a"}}}}, To: &inner{Names: []string{"b"}}, Array: [2]inner{{Names: []string{"c"}}, {}}}
	if d := cmp.Diff(want, a); d != "" {
		t.Error(d)
	}
}
