// Package components gives the tests real container runtimes and real Kubernetes
// binaries of pinned versions, built once per machine.
//
// Nothing is downloaded ready-made: every component is compiled from its Go module,
// named by version in a recipe whose go.mod and go.sum are part of this package
// (folder recipes), so its source is fixed by checksum. The results lie under
// ${XDG_CACHE_HOME:-~/.cache}/inlay/components, a folder per recipe whose name holds a
// digest of that recipe: a changed recipe never meets an old binary. Several processes
// may ask at once; one builds, the others wait for it.
package components
