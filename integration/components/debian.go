package components

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// EnsureDebian installs those of the named packages that are missing. On a machine
// without dpkg, or without the right to install, it says what is needed.
func EnsureDebian(ctx context.Context, log io.Writer, packages ...string) error {
	var missing []string
	for _, p := range packages {
		if !debianInstalled(ctx, p) {
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	list := strings.Join(missing, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("needs %s, and there is no apt-get here to install it: %w", list, err)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("needs %s: run `apt-get install %s` as root", list, list)
	}
	fmt.Fprintf(log, "installing %s\n", list)
	env := append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	install := append([]string{"install", "-y", "--no-install-recommends"}, missing...)
	if err := run(ctx, io.Discard, "", env, "apt-get", install...); err == nil {
		return nil
	}
	// A fresh machine has no package lists, and old lists name files that are gone.
	if err := run(ctx, log, "", env, "apt-get", "update"); err != nil {
		return err
	}
	return run(ctx, log, "", env, "apt-get", install...)
}

func debianInstalled(ctx context.Context, name string) bool {
	out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Status}", name).Output()
	return err == nil && strings.HasSuffix(string(out), " installed")
}
