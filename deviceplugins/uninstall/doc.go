// Package uninstall takes off a node what Inlay put there, and nothing else, in an order in which no container can start
// with an FPGA and without its guard:
//
//  1. the sockets in the kubelet's folder: nothing is offered any more;
//  2. hooks.d: a JSON without its program would be passed over in silence;
//  3. the CDI files: a container that was allocated earlier cannot be created any more;
//  4. the hook: one that was created cannot be started any more;
//  5. the run folder, with its folders of GPU links; the state folder only if it is asked for.
//
// The sockets are those of all families. CDI files and links of GPUs and SGX stay while their pods, or another plugin of
// these devices, may need them: unlike FPGAs they may be another's, so that their pods are no reason to refuse.
//
// What is ours is known by its name in a folder of ours or, in folders that others use too, by name, type and content.
// No link is followed to a file. What is left is said, with the reason.
package uninstall
