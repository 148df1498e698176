// Package nodetest is an API server that knows one Node: real HTTP with a real watch, in the test's hand.
//
// It answers what package node asks for: get, watch by name, and merge patch of labels, all as partial object metadata.
// Anything else is refused and noted, so that a test sees who asks for more than its own Node.
package nodetest
