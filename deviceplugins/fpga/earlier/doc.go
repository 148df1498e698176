// Package earlier finds on a node what another FPGA device plugin has there: the one that nodes had before Inlay, whose
// resources and sockets have the same names.
//
// Two such plugins at once give the same cards out twice. That one serves is told from what it answers: Inlay asks for
// PreStartContainer, no other plugin of these resources does. One whose socket Inlay has taken over, as in the same mode,
// is named for as long as it runs. What one left behind (its hook, its hooks.d JSON) does no harm by being there, except
// a JSON that a runtime still goes by.
//
// Nothing is changed here: only whoever put these things there, or a person, takes them away.
package earlier
