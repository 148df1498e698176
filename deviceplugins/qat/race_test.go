//go:build race

package qat_test

// raceEnabled: times are several times longer.
const raceEnabled = true
