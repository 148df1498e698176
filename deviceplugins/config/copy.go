package config

import "reflect"

// copied gives settings that share no list with s: a file's decoder writes into the lists that it finds. It goes by the
// types, so that a field of tomorrow is copied too.
func (s Settings) copied() Settings {
	c := s
	unshare(reflect.ValueOf(&c).Elem())
	return c
}

// unshare puts copies in the place of all slices, maps and pointers of v, which can be set.
func unshare(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				unshare(f)
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			unshare(v.Index(i))
		}
	case reflect.Slice:
		if v.IsNil() {
			return
		}
		list := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(list, v)
		for i := range list.Len() {
			unshare(list.Index(i))
		}
		v.Set(list)
	case reflect.Map:
		if v.IsNil() {
			return
		}
		m := reflect.MakeMapWithSize(v.Type(), v.Len())
		for key, value := range v.Seq2() {
			one := reflect.New(value.Type()).Elem()
			one.Set(value)
			unshare(one)
			m.SetMapIndex(key, one)
		}
		v.Set(m)
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		to := reflect.New(v.Type().Elem())
		to.Elem().Set(v.Elem())
		unshare(to.Elem())
		v.Set(to)
	default: // a value; the file's decoder makes no others
	}
}
