// Package oci makes container images out of files, for several platforms, as one tar that containerd and CRI-O import as
// it is. The same files, labels and time give the same bytes on every machine.
//
// Layers are compressed with zstd and a window in which a whole image has room: statically linked Go programs have half
// of their code in common, which gzip, looking back 32 KiB, does not find.
package oci
