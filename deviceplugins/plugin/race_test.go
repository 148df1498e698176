//go:build race

package plugin_test

// raceEnabled: the race detector's own threads switch too.
const raceEnabled = true
