package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("images", flag.ContinueOnError)
	o := release{Out: out}
	f.StringVar(&o.Tree, "tree", ".", "the source tree")
	f.StringVar(&o.Dir, "o", "dist", "folder that gets the images")
	f.StringVar(&o.Prefix, "prefix", "docker.io/inlay", "registry and folder before the images' names, as deploy/ names them")
	f.StringVar(&o.Version, "version", "", "version to stamp, and the images' tag")
	f.StringVar(&o.Revision, "commit", "", "commit to stamp")
	f.StringVar(&o.Tags, "tags", "", "build tags, comma list")
	only := f.String("only", "", "images to build, comma list; empty = all")
	platforms := f.String("platforms", "linux/amd64,linux/arm64", "platforms to build for, comma list")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("argument %q: there are only flags", f.Arg(0))
	}
	if o.Version == "" {
		return errors.New("-version is empty")
	}
	var err error
	if o.Created, err = created(ctx, o.Tree, os.Getenv("SOURCE_DATE_EPOCH")); err != nil {
		return err
	}
	if o.Platforms, err = parsePlatforms(*platforms); err != nil {
		return fmt.Errorf("-platforms: %w", err)
	}
	recipes, err := choose(recipes(), *only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	return o.write(ctx, recipes)
}

// choose picks recipes by name.
func choose(all []recipe, names string) ([]recipe, error) {
	if names == "" {
		return all, nil
	}
	var chosen []recipe
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(r recipe) bool { return r.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no image %q", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// created is the time of everything in the images: SOURCE_DATE_EPOCH, or that of the last commit.
func created(ctx context.Context, tree, epoch string) (time.Time, error) {
	if epoch == "" {
		out, err := command(ctx, tree, nil, "git", "-c", "safe.directory=*", "log", "-1", "--format=%ct") // also of a tree that another user owns
		if err != nil {
			return time.Time{}, fmt.Errorf("set SOURCE_DATE_EPOCH, or build in a git repository: %w", err)
		}
		epoch = strings.TrimSpace(string(out))
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH %q is no number of seconds since 1970", epoch)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
