// Package gpu is the device family of Intel GPUs: what a node offers of its DRM devices, and what a container is answered.
//
//	gpu.intel.com/<driver>              a share of a card; the driver is that of its kernel device: i915, xe
//	gpu.intel.com/monitoring            all cards together, for one observer (split: <driver>_monitoring)
//	gpu.intel.com/dxg                   under WSL: a share of a GPU that Windows has
//
// A card is found in /sys/class/drm. A physical function whose virtual functions are enabled is not offered, the virtual
// functions are; the observer sees both.
//
// # By-path links
//
// udev keeps links like /dev/dri/by-path/pci-0000:00:02.0-card, by which media stacks find the nodes of one card. The
// device plugin API cannot make links, so Allocate mounts the files that they lead to, read-only, under their names, as
// Intel's plugin does. Whether there are any is looked at in each scan.
//
// Beside that, in the mode "single" and where Config.RunDir is set, Scan keeps a folder for each card:
//
//	<run-dir>/gpu/by-path/card0/pci-0000:00:02.0-card   -> ../card0
//	<run-dir>/gpu/by-path/card0/pci-0000:00:02.0-render -> ../renderD128
//
// Mounted at /dev/dri/by-path in a container such links lead to the container's own nodes. inlay-nri does that, in place of
// Allocate's mounts: it finds the cards in the allocation record (record.KeyFor of each of this family's resources; the
// card is what stands before the dash of a device id) and makes a folder of its own of all their links, which stays as it
// is for as long as a container has it. Where the pod has a mount of its own there, Allocate's stay. A folder here is made
// aside and put in place by rename, is another only if its links are, stays while its card is there and cannot be read, and
// goes with its card. Without it nothing is to be replaced: the modes "none" and "all" have none.
package gpu
