// Package hostfs reads a host's file tree below a root folder and never leaves it.
//
// Everything that Inlay knows of a node comes from files: sysfs attributes, device nodes, a bitstream store. A Root
// is that tree: the machine's own ("/"), the host as a container sees it ("/host"), or a tree made for a test. Paths
// given to a Root are host paths, absolute as the host itself would write them ("/sys/class/fpga_region"); links,
// absolute ones too, are resolved inside the root by the kernel (openat2 with RESOLVE_IN_ROOT, Linux 5.6), so a link
// cannot lead out of it even while somebody changes the tree.
//
// Errors are *fs.PathError with the path as this process sees it and wrap the errno: errors.Is(err, fs.ErrNotExist)
// and errors.Is(err, unix.EBUSY) work.
package hostfs
