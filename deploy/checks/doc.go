// Package checks holds the tests of what deploy/ gives to clusters: every overlay and the Helm chart with several sets of
// values are rendered as kubectl and helm render them, each object is read strictly into its Go type, and the rules that
// docs/security.md promises (no privileged container, every folder of the host, capability and API verb explained) are
// looked up in what was rendered. It needs nothing but Go; integration/deploy has the same objects accepted by a real API
// server.
package checks
