//go:build race

package childtest

// Race tells whether the tests run with the race detector: times are several times longer then, and its own threads
// switch too.
const Race = true
