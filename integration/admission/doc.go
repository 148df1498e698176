// Package admission puts Inlay's webhook in front of a real API server, as deploy/ does it, and holds the tests of the
// two together.
//
// Install applies deploy/crds and deploy/webhook with kubectl. The Deployment in there does not run, for there is no
// node: StartReplica starts the webhook's program in its place, with the arguments of the Deployment and a token of its
// ServiceAccount, so the rights that deploy/ gives are tested too. What a replica cannot have on one machine, an address
// of its own and the way from the Service to it, is made by package apiserver.
//
// The tests carry the build tag integration.
package admission
