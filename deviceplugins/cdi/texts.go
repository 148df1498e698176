package cdi

import (
	"reflect"
	"sync"

	"sigs.k8s.io/yaml"
	"tags.cncf.io/container-device-interface/specs-go"
)

// Texts remembers what CDI files say: every scan wants those of all devices, and YAML is slow. The zero value is ready, and
// it is safe for concurrent use.
type Texts struct {
	mu    sync.Mutex
	known map[string]text // by file name
}

type text struct {
	of   specs.Spec
	yaml []byte
}

// Of gives the text of a file. The specification is kept: it is not to be changed afterwards.
func (t *Texts) Of(file string, spec specs.Spec) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known, ok := t.known[file]; ok && reflect.DeepEqual(known.of, spec) {
		return known.yaml, nil
	}
	out, err := yaml.Marshal(spec)
	if err == nil {
		if t.known == nil {
			t.known = map[string]text{}
		}
		t.known[file] = text{spec, out}
	}
	return out, err
}

// Forget drops the texts of files.
func (t *Texts) Forget(gone func(file string) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for file := range t.known {
		if gone(file) {
			delete(t.known, file)
		}
	}
}
