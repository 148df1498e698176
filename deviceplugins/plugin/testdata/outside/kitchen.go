// Package kitchen is a device family as another module writes it: with every method, every field of Watch and a source of
// events of its own. It names nothing that only Inlay may name.
package kitchen

import (
	"context"
	"strings"

	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
)

type coffee struct{}

var (
	_ plugin.Family     = coffee{}
	_ plugin.Watcher    = coffee{}
	_ plugin.Allocator  = coffee{}
	_ plugin.Preferrer  = coffee{}
	_ plugin.PreStarter = coffee{}
	_ plugin.Diagnoser  = coffee{}
	_ plugin.Events     = bus{}
)

func (coffee) Name() string { return "coffee" }

func (coffee) Scan(context.Context) (plugin.Inventory, []plugin.Skipped, error) {
	return plugin.Inventory{}, []plugin.Skipped{{Path: "/dev/coffee0", Reason: "empty"}}, nil
}

func (coffee) Watch() plugin.Watch {
	return plugin.Watch{
		Subsystems: []string{"coffee"},
		Ignore:     isOpened,
		Folders:    []plugin.Folder{{Path: "/dev", Match: func(name string) bool { return strings.HasPrefix(name, "coffee") }}},
		Values:     []string{"/dev"},
		Queries:    []string{"/sys/class/coffee/coffee0/pressure"},
		Answered:   func(string, []byte, error) bool { return false },
	}
}

// isOpened is a function of its own, so that the event's type has to be written.
func isOpened(e plugin.Event) bool {
	return e.Action == "change" && e.Subsystem == "coffee" && e.DevName != "" && strings.Contains(e.DevPath, "lid")
}

func (coffee) Allocate(_ context.Context, _ string, devices []plugin.Device) (*v1beta1.ContainerAllocateResponse, error) {
	return plugin.Merge(devices), nil
}

func (coffee) Prefer(_ string, available []plugin.Device, must []string, size int) ([]string, error) {
	for _, d := range available[:size-len(must)] {
		must = append(must, d.ID)
	}
	return must, nil
}

func (coffee) PreStart(context.Context, string, []string) error { return nil }

func (coffee) Diagnose(context.Context) []plugin.Finding {
	return []plugin.Finding{{Path: "/dev/coffee0", Reason: "empty", Remedy: plugin.Remedy("its node is missing", "coffee")}}
}

// bus is a source of events that loses some.
type bus struct{ events chan plugin.Event }

func (b bus) Receive(ctx context.Context) (plugin.Event, error) {
	select {
	case e, ok := <-b.events:
		if !ok {
			return plugin.Event{}, plugin.ErrEventOverflow
		}
		return e, nil
	case <-ctx.Done():
		return plugin.Event{}, ctx.Err()
	}
}

func (bus) Close() error { return nil }

// Engine is one for coffee.
func Engine(folder string) (*plugin.Engine, error) {
	return plugin.New(plugin.Config{Folder: folder, Families: []plugin.Family{coffee{}}, Events: bus{make(chan plugin.Event)}})
}
