//go:build integration

package critest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"
)

// dirEnv names the folder for what is made.
const dirEnv = "INLAY_CRITEST_DIR"

// supply is what all tests of this package use.
var supply *Supply

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "critest:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	if os.Geteuid() != 0 {
		return 1, fmt.Errorf("it starts container runtimes and needs root")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Hour)
	defer cancel()
	if os.Getenv(insideEnv) == "" {
		if err := EnsureAll(ctx, os.Stderr); err != nil {
			return 1, err
		}
	}
	// The folder is made and removed by the process outside, which outlives a panic.
	if os.Getenv(dirEnv) == "" {
		dir, err := os.MkdirTemp("", "inlay-critest-")
		if err != nil {
			return 1, err
		}
		defer os.RemoveAll(dir)
		if err := os.Setenv(dirEnv, dir); err != nil {
			return 1, err
		}
	}
	if code, done, err := Again(ctx); done || err != nil {
		return code, err
	}
	if err := Prepare(); err != nil {
		return 1, err
	}
	dir := os.Getenv(dirEnv)
	var err error
	if supply, err = NewSupply(ctx, os.Getenv("INLAY_BIN"), dir, os.Stderr); err != nil {
		return 1, err
	}
	defer supply.Close()
	return m.Run(), nil
}
