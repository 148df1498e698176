// Package modules tells of a built program which Go modules are linked into it, at which versions, and under which
// licences they may be passed on. It reads what the linker left in the program, not what a go.mod would allow.
package modules
