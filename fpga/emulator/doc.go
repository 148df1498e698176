// Package emulator lets a command believe that FPGA cards are there: it makes host trees with such cards (WriteTree),
// and runs a command whose open and ioctl calls on their nodes are answered as the DFL and OPAE kernel drivers would (Run).
//
// # How
//
// COMMAND runs under a seccomp filter that reports its ioctl calls with a driver's magic, its open and openat calls for
// reading and writing, and its openat2 calls. The supervisor looks up what each is about. What is no FPGA node's
// business goes on to the kernel (some 20 µs later); the rest is answered here. A node is known by its device number in
// whatever root and mount namespace the caller is, by inode below dev/ of the tree only where it could not be made.
// Mode bits, capabilities and the device cgroup (v1) count as they would for the kernel.
//
// An open descriptor is a file with the port's registers, shared by all openers, so that a function can be read as OPAE
// reads it: device feature header at 0, id at 8 and 16. The rest of region 0 is plain memory, zeroed by a port reset.
//
// # What differs from a driver
//
//   - afu_id cannot be read while its port is in reset. The driver says EBUSY when it is read; here openat2 under the
//     emulator says EBUSY, and for everybody else the file is a directory for that time: open succeeds, read says EISDIR.
//   - A killed caller goes at once, while its PR runs to its end. A PR that still waited for its turn is dropped.
//   - A PR of a payload that no bitstream of the store has, or that is for another interface id, is refused like an image
//     made for another card: EIO, "incompatible". A failed PR leaves the function that was there (pr_leaves_reset: leaves
//     the port in reset, as the driver does).
//   - Opening a node for reading only, or under a foreign ABI, is not seen. read and write work on the descriptor, and an
//     FME's can be mapped, which makes no sense with a driver. Neither DMA nor interrupts: the calls answer EINVAL, no interrupts.
//   - A port released by FME_PORT_RELEASE leaves the tree and comes back with FME_PORT_ASSIGN, as its device does. One that
//     the tree shows on a VF counts as released; VFs are not made or removed. What is released stays so under the next
//     emulator of the tree; while none runs the tree shows the port.
//   - Emulators cannot be nested. Two beside each other on one tree share openers, registers and the turn of PRs, but a
//     device that one took away (a fault) only that one brings back.
//
// When the emulator ends, faults and releases end with it and the tree is whole again; killed, it leaves the tree as it
// is, and the next one gives a port in the middle of a PR an id of zeros.
//
// # What it does not use
//
// The ABI, the sysfs layout and the bitstream formats are written down here a second time, from the specification and
// not from the packages beside this one, on purpose: an error in one of the two shows up in the tests of the other.
package emulator
