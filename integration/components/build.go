package components

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Cache is the folder in which built components are kept.
type Cache struct {
	dir string
	log io.Writer
}

// DefaultDir is ${XDG_CACHE_HOME:-~/.cache}/inlay/components.
func DefaultDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("component cache: %w", err)
	}
	return filepath.Join(base, "inlay", "components"), nil
}

// Open uses dir as the cache and makes it if need be. What is being built, and the
// compiler's own output when it fails, goes to log.
func Open(dir string, log io.Writer) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("component cache: %w", err)
	}
	return &Cache{dir: dir, log: log}, nil
}

// Ensure returns the path of every binary of the named components, built if they are
// not there yet. The keys of the map are binary names, e.g. "containerd-shim-runc-v2".
func (c *Cache) Ensure(ctx context.Context, names ...string) (map[string]string, error) {
	paths := map[string]string{}
	for _, name := range names {
		r, err := Find(name)
		if err != nil {
			return nil, err
		}
		dir, err := c.ensure(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("component %s %s: %w", r.Name, r.Version, err)
		}
		for _, b := range r.Binaries() {
			paths[b] = filepath.Join(dir, b)
		}
	}
	return paths, nil
}

// ensure returns the folder that holds the recipe's binaries. A folder of the final
// name is complete: it gets that name by rename after the last compiler has ended.
func (c *Cache) ensure(ctx context.Context, r Recipe) (string, error) {
	key, err := r.key()
	if err != nil {
		return "", err
	}
	final := filepath.Join(c.dir, key)
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	unlock, err := lock(ctx, final+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(final); err == nil {
		return final, nil // another process built it while we waited
	}
	tmp, err := os.MkdirTemp(c.dir, key+".building-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := c.build(ctx, r, tmp); err != nil {
		return "", err
	}
	if err := os.Rename(filepath.Join(tmp, "bin"), final); err != nil {
		return "", err
	}
	return final, nil
}

// build compiles the recipe inside work and leaves the binaries in work/bin.
func (c *Cache) build(ctx context.Context, r Recipe, work string) error {
	if err := EnsureDebian(ctx, c.log, r.Debian...); err != nil {
		return err
	}
	mod, sum, err := r.moduleFiles()
	if err != nil {
		return err
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(work, "go.mod"), mod, 0o644),
		os.WriteFile(filepath.Join(work, "go.sum"), sum, 0o644),
		os.Mkdir(filepath.Join(work, "bin"), 0o755),
	); err != nil {
		return err
	}
	fmt.Fprintf(c.log, "building %s %s into %s\n", r.Name, r.Version, c.dir)
	command := []string{"build"}
	if r.Test {
		command = []string{"test", "-c"}
	}
	args := append(command, "-trimpath", "-tags", strings.Join(r.Tags, ","), "-ldflags", r.LDFlags, "-o", filepath.Join(work, "bin")+"/"+r.Binary)
	if err := run(ctx, c.log, work, goEnv(r.CGO), "go", append(args, r.Packages...)...); err != nil {
		return err
	}
	for _, p := range r.C {
		if err := c.buildC(ctx, r, p, work); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return nil
}

// buildC compiles a C program out of the module that the Go build has just fetched and
// checked. The module's folder is read-only, so nothing is made there.
func (c *Cache) buildC(ctx context.Context, r Recipe, p CProgram, work string) error {
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", p.Module)
	list.Dir, list.Env = work, goEnv(r.CGO)
	dir, err := list.Output()
	if err != nil {
		return fmt.Errorf("folder of module %s: %w", p.Module, err)
	}
	sources, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), p.Dir, "*.c"))
	if err != nil || len(sources) == 0 {
		return fmt.Errorf("module %s has no C files in %s: %w", p.Module, p.Dir, err)
	}
	args := append(append([]string{}, p.Flags...), "-static", "-s", "-o", filepath.Join(work, "bin", p.Name))
	return run(ctx, c.log, work, os.Environ(), "gcc", append(args, sources...)...)
}

// goEnv is the environment of the compiler. What the user has set for this project
// must not leak into the build of another one; -mod=readonly makes go.sum binding.
func goEnv(cgo bool) []string {
	enabled := "0"
	if cgo {
		enabled = "1"
	}
	return append(os.Environ(), "CGO_ENABLED="+enabled, "GOFLAGS=-mod=readonly -buildvcs=false", "GOWORK=off", "GOOS=", "GOARCH=")
}

// run executes a command; its output is shown only if it fails, since compilers and
// apt-get are chatty when all is well.
func run(ctx context.Context, log io.Writer, dir string, env []string, name string, args ...string) error {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, &out, &out
	if err := cmd.Run(); err != nil {
		_, _ = log.Write(out.Bytes())
		return fmt.Errorf("%s %s: %w", name, args[0], err)
	}
	return nil
}

// lock takes an exclusive lock on the file. A process that dies releases it.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	tried := make(chan struct{})
	var refused error // to be read when tried is closed
	go func() {
		defer close(tried)
		refused = unix.Flock(int(f.Fd()), unix.LOCK_EX)
	}()
	select {
	case <-tried:
		if refused != nil {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, refused)
		}
		return func() { _ = f.Close() }, nil
	case <-ctx.Done():
		// flock cannot be interrupted; its goroutine ends with the other builder.
		go func() { <-tried; _ = f.Close() }()
		return nil, fmt.Errorf("lock %s: %w", path, ctx.Err())
	}
}
