package containerd

import (
	"context"

	"github.com/inlay-project/inlay/integration/sweep"
)

// Sweep kills what belongs to the containerd of that socket and is still there, shims
// and the processes in its cgroups, and removes the cgroups.
func Sweep(ctx context.Context, socket, cgroupParent string) error {
	return sweep.Sweep(ctx, cgroupParent, "-address "+socket)
}
