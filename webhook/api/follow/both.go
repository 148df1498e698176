package follow

import (
	"time"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// Both tells two handlers the same, the first one first. They share the objects, which neither may change.
func Both(first, second Handler) Handler { return both{first, second} }

type both struct{ first, second Handler }

// Replace implements Handler.
func (b both) Replace(objects []v2.Object) {
	b.first.Replace(objects)
	b.second.Replace(objects)
}

// Upsert implements Handler.
func (b both) Upsert(o v2.Object) {
	b.first.Upsert(o)
	b.second.Upsert(o)
}

// Delete implements Handler.
func (b both) Delete(namespace, name string) {
	b.first.Delete(namespace, name)
	b.second.Delete(namespace, name)
}

// InStep implements Handler.
func (b both) InStep(at time.Time) {
	b.first.InStep(at)
	b.second.InStep(at)
}

// Away implements Handler.
func (b both) Away(err error) {
	b.first.Away(err)
	b.second.Away(err)
}
