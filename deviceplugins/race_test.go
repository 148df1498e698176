//go:build race

package main

// raceEnabled: times are several times longer, those of the program too.
const raceEnabled = true
