// Package engine is everything about being an NRI plugin, and nothing about what the plugin does: an Engine keeps one
// plugin registered with the container runtime of the node for as long as its Run lasts, and no answer of the plugin
// is ever later than the runtime's deadline.
//
// # Connection
//
// Started by hand or by a supervisor (external), it dials the runtime's NRI socket, and dials again whenever the
// connection ends, within a second of the socket being back: the socket's folder is watched while there is no
// connection, and a back-off with jitter (at most 500 ms) covers what a watch cannot see. While connected it has no
// timer and no watch, so an idle engine costs nothing. Started by the runtime from its plugin folder (pre-installed,
// Inherited) it serves the one connection it was given and returns when that ends; the runtime owns its life.
//
// The NRI stub does not reconnect and has two faults (NRI 0.12.5). A: a Start that could not register leaves its dead
// connection in the stub, and every later Start of that stub fails. So each attempt has a new stub. B: if the runtime
// goes away between RegisterPlugin and Configure, Start waits for a Configure that never comes, holding the stub's
// lock, deaf to its context and to a closed connection. So Start runs in a goroutine under a watchdog. The engine owns
// the connection; when that dies, or the watchdog expires, the connection is closed and, if Start still hangs, the
// Configure that it waits for is delivered by the engine itself, as a refusal, through the very method that the runtime
// would have called. Nothing is leaked. Should a later stub not be freed that way, Run returns ErrStuck: main then ends
// the process, which is the only cure left, and the supervisor starts it anew.
//
// # Requests
//
// Runtimes go on without a plugin that is late or dead (fail-open), but an error in time fails the creation. So each
// request has a deadline of its own well inside the runtime's (the rest of the time less 20 %, at least 250 ms), at
// which the container is refused even if the Adjuster hangs; the Adjuster's goroutine is then left to end by itself, and
// their number is bounded. A panic is an error too. NRI's FailurePolicy is not set: on runtimes that know it, a hung
// plugin would fail every pod of the node, and design.md 1 has a gate for the containers that need us.
//
// A container that Wants does not claim is answered at once: no lock, no file, no allocation, no goroutine.
//
// Two engines with one index and name on one runtime are an operator's error: NRI calls both, their equal adjustments
// conflict and every container that is ours fails to be created. A DaemonSet needs maxSurge 0.
package engine
