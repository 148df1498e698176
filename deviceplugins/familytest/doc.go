// Package familytest is what the tests of the device families share: host trees out of golden text, what discover prints of
// them and the comparison of that with golden files, and a node: an engine with the family on it, and a kubelet that
// listens.
//
// Golden files lie in the family's testdata. NAME.txtar is a tree (see hostfstest); a line "flags: …" in its head is what
// the user gave. NAME.json is what discover prints of it, NAME.txt what is said of it in words. `go test -update` writes
// both.
package familytest
