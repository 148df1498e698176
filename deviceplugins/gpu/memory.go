package gpu

import (
	"maps"
	"path"
	"strings"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// memory is what the cards of the last scan were offered as, by name. A card that was offered and cannot be read any more
// is sick and not gone: the kubelet keeps counting it, and nobody gets it.
type memory map[string]remembered

type remembered struct {
	dir      string // real folder of the DRM device
	resource string
	device   plugin.Device
}

// keep adds those that became sick to an inventory, and remembers the others. What was never offered stays skipped.
func (m memory) keep(root *hostfs.Root, inv plugin.Inventory, found Inventory, o Options) (skipped []plugin.Skipped, sick bool) {
	next, dirs := memory{}, map[string]string{}
	for i := range found.Cards {
		dirs[found.Cards[i].Name] = found.Cards[i].Dir
	}
	for _, s := range found.Skipped {
		name := path.Base(s.Path)
		was, known := m[name]
		if dir, err := root.Resolve(s.Path); !known || err != nil || dir != was.dir {
			skipped = append(skipped, s)
			continue
		}
		was.device.Health, was.device.Reason = plugin.Unhealthy, s.Reason
		inv[was.resource] = share(inv[was.resource], was.device, name, o.SharedDevNum)
		next[name], sick = was, true
	}
	for resource, devices := range inv {
		for i := range devices {
			name, first := strings.CutSuffix(devices[i].ID, "-0")
			if dir := dirs[name]; first && dir != "" {
				next[name] = remembered{dir: dir, resource: resource, device: devices[i]}
			}
		}
	}
	clear(m)
	maps.Copy(m, next)
	return skipped, sick
}
