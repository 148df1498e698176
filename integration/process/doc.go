// Package process starts programs for tests, keeps what they print, and knows for
// certain when they have ended.
//
// Start runs a child of the test itself. A Launcher runs programs from a shell that
// lives in a mount namespace of its own and, when asked, behind a prefix such as
// `fpga-emulator … --`: everything started through one Launcher shares that
// environment, also a daemon that is started a second time while containers of the
// first one live on. Mounts made in it are never seen by the host and end with it.
package process
