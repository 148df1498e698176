// Package follow keeps a handler in step with the objects of one resource of an API server, for as long as a context lives:
// the mappings of one kind (Mappings), or whatever a Source describes.
//
// It is client-go's Reflector on requests of its own. The Reflector knows how to begin (a stream where the server has
// WatchList, pages where it has not), where to go on after a break, and when only a new list helps. The requests are our
// own for three reasons:
//
//   - Objects are decoded one by one and stripped as they arrive, to a type that may be small. Neither a whole answer nor
//     annotations and managed fields are ever held in memory, and the buffers of a large object go with it.
//   - An object that this version cannot read (a number where an id belongs, stored under another schema) is the decoder's
//     to judge; of a mapping it makes one without a spec, which leads nowhere. It would end the stream of all others
//     otherwise, over and over.
//   - Every wait ends with the context, and every stream has a longest life.
//
// What the handler is told is always true of some moment, in the server's order for each object; InStep says of which.
// After a break the last known state stays. The first try to mend it comes within 300 ms, and with the API server
// away the tries become rarer, down to one in 30 seconds; half of every wait is chance, so that the nodes of a cluster do
// not come back all at once.
package follow
