// Package health asks for the health of GPUs: the Level-Zero service (unary calls, asked every few seconds) or xpumd (a
// stream that tells of changes), both over a unix socket.
//
// A source is asked for ever. Whatever the service does (not there, dead, hung, restarted, without an answer for one
// card), the next attempt follows, and the verdict on a card never rests on an old answer for longer than the grace:
//
//	answer holds                          the answer
//	no answer yet, for less than grace    healthy
//	no answer any more, for less          what the last one said
//	for longer than grace                 unhealthy, with the reason why there is no answer
//
// So a card that nobody can vouch for is not given out for ever, and a service that restarts costs nothing.
//
// The messages of both services are few and small, and a dozen fields of theirs matter here: they are read with protowire,
// which is a fifth of what generated code with its reflection would be, and needs no generator on a fresh machine. The
// tests write and read them with the protobuf library's own encoder, so that the two cannot drift apart.
package health
