// Package status keeps the condition Ready and the resource of every mapping true: where the mapping leads, or why it
// leads nowhere. Only a leader writes.
//
// What it should say comes from the tables that requests are answered from (package mappings); what it says comes with
// the objects that package follow tells. So both hear of the same events, the tables first:
//
//	index, writer := mappings.NewIndex(), status.New(…, index)
//	source.Run(ctx, follow.Both(index.Handler(kind), writer.Handler(kind)))
//
// Each event makes the writer look at the object and at the one of the other kind that has its name, whose condition may
// have changed with it. Where the two answers differ the object is queued; where they agree nothing is sent at all. A
// write is a read, a condition set and an update of the status subresource, so that it never undoes what it has not seen.
// A mapping that loses its name to another gets an Event, once a change.
//
// A replica that does not lead only remembers, a few words for each object: it knows what to write from the moment on
// at which it leads.
package status
