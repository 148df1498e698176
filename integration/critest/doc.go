// Package critest runs critest, the conformance tests of container runtimes, on a real
// containerd and a real CRI-O with and without inlay-nri connected, and compares: what
// passes without us passes with us.
//
// Critest is that of cri-tools, built from source (package components). Its images are
// stand-ins made here, under the names that critest pulls, and a registry on the
// loopback interface serves them, so pulling and removing images are tested too. All of
// it runs in namespaces of its own: the bridge, the host ports, the shared memory and the
// mounts that critest makes are seen by nobody else and end with the run.
//
// The tests of this package need root and carry the build tag integration. A short
// selection runs with `make integration`; `make critest` runs all specs and writes the
// table in docs/results.
package critest
