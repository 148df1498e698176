// Command images builds Inlay's container images, without a container engine, from nothing but the programs: `make
// images`. It compiles them for every platform, puts the licences of all that is linked in beside them, and writes for
// each image
//
//	NAME.tar        the image of all platforms, as containerd and CRI-O import it
//	NAME.spdx.json  what it is made of
//
// and for all of them digests.txt, the references by which images are signed and pinned, and SHA256SUMS of the files. With
// -only the lines of the other images stay, as long as their files are in the folder.
//
// The same source, version, time and Go release give the same digests on every machine.
package main
