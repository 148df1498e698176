// Package deploy holds the tests that give deploy/ to a real API server: every overlay and the Helm chart are applied one
// after the other, as a user changes from one to another, with strict validation and no warning; the controllers make the
// pods of the DaemonSet and of the Deployment, so that Pod Security, service accounts and priority classes have their
// say. That the pods do what they should is for integration/cluster; what needs no API server is checked in
// deploy/checks.
package deploy
