// Command bench prints how Inlay performs, each figure beside a baseline that was measured in the same run, with what
// was promised and whether the promise is kept. Absolute times of a shared machine say little; what stands beside them
// says the rest.
//
//	go run ./integration/bench                         all, at most 40 min
//	go run ./integration/bench -short                  few samples, to see that it works
//	go run ./integration/bench -only hook,ensure       some stages
//	go run ./integration/bench -o docs/results/bench.md
//
// What cannot run here says so in the table. Exit code 1 means that a stage broke, not that a promise was missed.
//
// Not run: the kernel's limit of enclave memory (misc.max), which needs SGX and cgroup version 2 with a misc controller
// that knows sgx_epc. The machine of the results has cgroup version 1.
//
// As root it runs with a /tmp of its own in memory, so that the figures are not those of the disk, and leaves nothing.
//
// The baselines are programs of this folder: emptyprogram (a process that does nothing), bareplugin (a device plugin
// that does nothing), emptyplugin (an NRI plugin that does nothing) and plainhttps (an HTTPS server that reads and
// answers the same to everybody). probe runs under the emulator and measures there. For inlay-webhook and the mirror of
// inlay-deviceplugin there are etcd and kube-apiserver with 10,000 mappings.
package main
