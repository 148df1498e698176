// Package families tests all device families at once on a node of real components: an emulated card, and devices of the
// seven other families in the node's /sys and /dev, told by inlay-deviceplugin to a real kubelet and given to containers by
// containerd and by CRI-O. It is installed by kubectl apply -k deploy/overlays/all, unchanged.
//
// The devices have nodes but no drivers: what a container is given is looked at, not used.
//
// The tests need root and carry the build tag integration; see docs/develop.md.
package families
