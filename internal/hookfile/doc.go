// Package hookfile keeps inlay-hook on a host: each build is a file of its own, which is never written to again, so that
// a container runtime runs exactly the program that inlay-nri was shipped with.
//
//	/opt/inlay/bin/inlay-hook-v1.2.3-0a1b2c3d     this build; the last part begins its SHA-256
//	/opt/inlay/bin/inlay-hook-v1.2.2-4e5f6a7b     an earlier one, as long as a container names it
//	/opt/inlay/bin/inlay-hook -> inlay-hook-v1.2.3-0a1b2c3d
//
// inlay-nri puts the first into a container's hooks; the link is for what outlives an upgrade: the gate in the CDI file,
// and hooks.d. Whoever can write one of these files, or a folder on the way, is root on the host at the next start of an
// FPGA container; so nothing is put where others than root can write, and nothing there is believed.
//
// Only the standard library and x/sys are used: this is part of inlay-hook.
package hookfile
