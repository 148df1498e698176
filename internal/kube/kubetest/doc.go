// Package kubetest plays an API server that keeps single objects of any kind, for tests: get, create, update and JSON
// patch with resourceVersions as Kubernetes has them, and watches of one object. What it is asked goes through memory,
// so it can be used within a bubble of testing/synctest; it is an http.Handler too.
package kubetest
