//go:build !race

package qat_test

const raceEnabled = false
