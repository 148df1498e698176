package follow

import "time"

// Both tells two handlers the same, the first one first. They share the objects, which neither may change.
func Both[T Object](first, second Handler[T]) Handler[T] { return both[T]{first, second} }

type both[T Object] struct{ first, second Handler[T] }

// Replace implements Handler.
func (b both[T]) Replace(objects []T) {
	b.first.Replace(objects)
	b.second.Replace(objects)
}

// Upsert implements Handler.
func (b both[T]) Upsert(o T) {
	b.first.Upsert(o)
	b.second.Upsert(o)
}

// Delete implements Handler.
func (b both[T]) Delete(namespace, name string) {
	b.first.Delete(namespace, name)
	b.second.Delete(namespace, name)
}

// InStep implements Handler.
func (b both[T]) InStep(at time.Time) {
	b.first.InStep(at)
	b.second.InStep(at)
}

// Away implements Handler.
func (b both[T]) Away(err error) {
	b.first.Away(err)
	b.second.Away(err)
}
