// Package bitstream finds, checks and maps the bitstream files of a store: what it opens is for the interface and the
// function that were asked for, and opening it costs a bounded amount of memory whatever the file holds.
//
// A store is a folder <store>/<interface id>/ with files <function id>.gbs or <function id>.aocx (spec section 3).
// A GBS file is a 20 byte header, JSON metadata and the payload that the kernel takes. An AOCX file (OpenCL) is an
// ELF file that holds an ELF file that holds a gzipped GBS file.
//
// Three depths:
//
//   - [Stat] says which file a function has, by a stat.
//   - [CheckHeader] reads the header and the metadata (kilobytes, under a millisecond) and compares the ids. It is
//     what inlay-nri does before it grants.
//   - [Open] verifies the file in full and gives the payload as memory for the PR ioctl.
//
// # The payload of a GBS file is the kernel's to read
//
// It is mapped read-only and handed to the ioctl as an address and a size ([Payload]). No Go code may read that
// memory: if the file shrinks meanwhile, the kernel's copy fails with EFAULT, one error for one caller, while a load
// instruction in Go would be SIGBUS and the end of the process. Whoever wants the bytes uses [Bitstream.Reader],
// which reads the file. The payload of an AOCX file is gunzipped into one anonymous buffer, as large as the content.
//
// # What is stricter or laxer than the reference
//
// Ids are hex and of full length, the ids inside must be those that the store's path promises, payloads are neither
// empty nor larger than [Options].MaxBytes, ELF sections lie inside their file and are not ambiguous. A metadata
// field that nobody uses (power, clock frequencies, names) may have any type: the reference refuses a file for it.
package bitstream
