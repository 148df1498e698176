// Command components builds the real runtimes that the integration tests use, or says
// where they are. The Makefile and CI call it before the tests so that compiling
// containerd is not counted as the time of the first test.
//
//	go run ./integration/cmd/components list
//	go run ./integration/cmd/components build containerd runc
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"text/tabwriter"

	"github.com/inlay-project/inlay/integration/components"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "components:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: components list | components build NAME…")

func run(ctx context.Context, args []string, out, log io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	switch args[0] {
	case "list":
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, r := range components.All() {
			fmt.Fprintf(w, "%s\t%s\t%v\n", r.Name, r.Version, r.Binaries())
		}
		return w.Flush()
	case "build":
		if len(args) == 1 {
			return errUsage
		}
		dir, err := components.DefaultDir()
		if err != nil {
			return err
		}
		cache, err := components.Open(dir, log)
		if err != nil {
			return err
		}
		paths, err := cache.Ensure(ctx, args[1:]...)
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(paths)) {
			fmt.Fprintln(out, paths[name])
		}
		return nil
	}
	return errUsage
}
