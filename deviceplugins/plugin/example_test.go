package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/deviceplugins/plugin/kubelettest"
)

// coffee is a family of its own: every /dev/coffee* is a device of the resource kitchen.example.org/coffee.
type coffee struct{ dev string }

func (coffee) Name() string { return "coffee" }

func (c coffee) Scan(context.Context) (plugin.Inventory, []plugin.Skipped, error) {
	nodes, err := filepath.Glob(filepath.Join(c.dev, "coffee*"))
	inv := plugin.Inventory{}
	for _, node := range nodes {
		name := filepath.Base(node)
		inv["kitchen.example.org/coffee"] = append(inv["kitchen.example.org/coffee"], plugin.Device{
			ID:    name,
			Grant: plugin.Grant{Nodes: []plugin.Node{{HostPath: "/dev/" + name, ContainerPath: "/dev/" + name}}},
		})
	}
	return inv, nil, err
}

// Watch makes a machine that is plugged in show up at once.
func (c coffee) Watch() plugin.Watch {
	return plugin.Watch{
		Folders: []plugin.Folder{{Path: c.dev, Match: func(name string) bool { return strings.HasPrefix(name, "coffee") }}},
		Values:  []string{c.dev},
	}
}

// A whole device plugin, and a kubelet to see it work. A real one has main's context, "/dev" and
// "/var/lib/kubelet/device-plugins".
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	host, _ := os.MkdirTemp("", "kitchen")
	defer os.RemoveAll(host)
	plugIn := func(name string) error { return os.WriteFile(filepath.Join(host, name), nil, 0o600) }

	kubelet := kubelettest.New(filepath.Join(host, "device-plugins"))
	defer kubelet.Close()
	if err := errors.Join(plugIn("coffee0"), kubelet.Start()); err != nil {
		fmt.Println(err)
		return
	}

	engine, err := plugin.New(plugin.Config{Folder: kubelet.Folder(), Families: []plugin.Family{coffee{dev: host}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan error)
	go func() { done <- engine.Run(ctx) }()

	has := func(n int) func(kubelettest.Resource) bool {
		return func(r kubelettest.Resource) bool { return r.Allocatable() == n }
	}
	r, _ := kubelet.Wait(ctx, "kitchen.example.org/coffee", has(1))
	fmt.Println("the kubelet has", r.IDs())

	if err := plugIn("coffee1"); err != nil {
		fmt.Println(err)
		return
	}
	r, _ = kubelet.Wait(ctx, "kitchen.example.org/coffee", has(2))
	fmt.Println("the kubelet has", r.IDs())

	answer, _ := kubelet.Allocate(ctx, "kitchen.example.org/coffee", "coffee1")
	fmt.Println("a container gets", answer.GetDevices()[0].GetContainerPath())

	cancel()
	if err := <-done; err != nil {
		fmt.Println(err)
	}
	// Output:
	// the kubelet has [coffee0]
	// the kubelet has [coffee0 coffee1]
	// a container gets /dev/coffee1
}
