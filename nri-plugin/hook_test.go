package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/sirupsen/logrus"
	logrustest "github.com/sirupsen/logrus/hooks/test"

	"github.com/inlay-project/inlay/internal/hookfile"
	"github.com/inlay-project/inlay/internal/hostfs"
	"github.com/inlay-project/inlay/internal/record"
	"github.com/inlay-project/inlay/nri-plugin/engine/enginetest"
)

// ship writes a build of inlay-hook as an image has it.
func ship(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "inlay-hook")
	if err := os.WriteFile(file, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// installHook does what the init container does.
func installHook(t *testing.T, root, source, version string) string {
	t.Helper()
	for _, dir := range []string{"opt", "opt/inlay", "opt/inlay/bin"} { // whatever the umask
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(source)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	folder, err := hookfile.OpenFolder(root, "opt/inlay/bin", false)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	in, err := folder.Install(t.Context(), f, version)
	if err != nil {
		t.Fatal(err)
	}
	return in.Name
}

func named(content, version string) string {
	return hookfile.FileName(version, sha256.Sum256([]byte(content)))
}

// withHook is a container that exists, whose hooks name a file of the hook folder.
func withHook(id, file string, state api.ContainerState) *api.Container {
	return &api.Container{
		Id: id, PodSandboxId: "p1", Name: id, State: state,
		Annotations: map[string]string{record.Key("region-" + iface): "dfl-fme.0@" + card0},
		Hooks: &api.Hooks{CreateRuntime: []*api.Hook{
			{Path: "/opt/inlay/bin/inlay-hook", Args: []string{"inlay-hook", "gate"}},
			{Path: "/opt/inlay/bin/" + file, Args: []string{"inlay-hook", "program"}},
		}},
	}
}

func hookNames(t *testing.T, root string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, "opt/inlay/bin"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestContainersGetTheVeryHookThatItWasShippedWith(t *testing.T) {
	h := newHost(t)
	source := ship(t, "#!/bin/sh\n# v2\n")
	old := installHook(t, h.root, ship(t, "#!/bin/sh\n# v1\n"), "v1")
	unused := installHook(t, h.root, ship(t, "#!/bin/sh\n# v0\n"), "v0")
	own := named("#!/bin/sh\n# v2\n", "devel")
	if err := os.MkdirAll(filepath.Join(h.root, "run/cdi"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.start("--hook-source", source, "--cdi-dir", filepath.Join(h.root, "run/cdi"), "--hook-timeout", "2s")
	r := h.runtime(enginetest.Options{
		Pods: []*api.PodSandbox{testPod()}, Containers: []*api.Container{withHook("old", old, api.ContainerState_CONTAINER_RUNNING)},
	})
	waitPlugins(t, r)
	refused := func(want string) {
		t.Helper()
		_, err := r.CreateContainer(t.Context(), testPod(), fpgaContainer())
		if err == nil || !strings.Contains(err.Error(), "inlay-nri refused pod ns/pod container app: "+want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	file := filepath.Join(h.root, "opt/inlay/bin", own)
	h.readyz(http.StatusServiceUnavailable, "hook is missing on this node: open "+file)
	refused("hook is missing on this node: open " + file)

	if got := installHook(t, h.root, source, "devel"); got != own {
		t.Fatalf("%s, want %s", got, own)
	}
	h.readyz(http.StatusOK, "ready")
	adjust, err := r.CreateContainer(t.Context(), testPod(), fpgaContainer())
	if err != nil || len(adjust.GetHooks().GetCreateRuntime()) != 1 {
		t.Fatalf("%v, %v", adjust, err)
	}
	if hook := adjust.GetHooks().GetCreateRuntime()[0]; hook.Path != "/opt/inlay/bin/"+own || hook.Args[0] != "inlay-hook" || hook.Args[1] != "program" {
		t.Errorf("%+v", hook)
	}
	wantUntouched(t, r)

	if err := os.WriteFile(file, []byte("#!/bin/sh\n# v3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	refused("hook: " + file + " is not the one that inlay-nri was shipped with: its SHA-256 begins ")
	h.readyz(http.StatusServiceUnavailable, "is not the one that inlay-nri was shipped with")
	installHook(t, h.root, source, "devel")
	if err := os.Chmod(file, 0o777); err != nil {
		t.Fatal(err)
	}
	refused("hook: " + file + " has mode 0777: others than root can write it")
	installHook(t, h.root, source, "devel")
	if _, err := r.CreateContainer(t.Context(), testPod(), fpgaContainer()); err != nil {
		t.Error(err)
	}

	// The version of a container that is still there stays.
	r.Drop()
	eventually(t, "the end of the version that nobody needs", func() bool { return !slices.Contains(hookNames(t, h.root), unused) })
	if got := hookNames(t, h.root); !slices.Contains(got, old) || !slices.Contains(got, own) {
		t.Errorf("%q", got)
	}
	r.Stop()
	r = h.runtime(enginetest.Options{}) // the old container is gone
	waitPlugins(t, r)
	eventually(t, "the end of the old version", func() bool { return slices.Equal(hookNames(t, h.root), []string{"inlay-hook", own}) })
}

func TestWhichHookIsItsOwn(t *testing.T) {
	h := newHost(t)
	bare, own := "/opt/inlay/bin/inlay-hook", "/opt/inlay/bin/"+named("x", "devel")
	x := ship(t, "x")
	link := func(*testing.T) { installHook(t, h.root, x, "v0") }
	plain := func(t *testing.T) {
		if err := errors.Join(os.Remove(h.root+bare), os.WriteFile(h.root+bare, []byte("x"), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, source string
		arrange      func(t *testing.T)
		want         string
		wantErr      string
	}{
		{"auto, none beside it, a program", sourceAuto, plain, bare, ""},
		{"auto, none beside it, a link", sourceAuto, link, bare, ""},
		{"off", "", link, bare, ""},
		{"given, a link", x, link, own, ""},
		{"given, a program", x, plain, own, ""},
		{"given and not there", filepath.Join(h.root, "nothing"), link, "", "--hook-source: open " + h.root + "/nothing: no such file"},
		{"given and no program", h.root, link, "", "--hook-source: " + h.root + " is not a program"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.arrange(t)
			p := h.start("--hook-source", tt.source)
			if tt.wantErr != "" {
				if err := p.Wait(30 * time.Second); err == nil || !strings.Contains(p.Output(), tt.wantErr) {
					t.Errorf("%v, %s, want %s", err, p.Output(), tt.wantErr)
				}
				return
			}
			if tt.want == own {
				installHook(t, h.root, x, "devel")
			}
			r := h.runtime(enginetest.Options{})
			defer r.Stop()
			waitPlugins(t, r)
			adjust, err := r.CreateContainer(t.Context(), testPod(), fpgaContainer())
			if err != nil || adjust.GetHooks().GetCreateRuntime()[0].Path != tt.want {
				t.Errorf("%v, %v, want %s", adjust.GetHooks(), err, tt.want)
			}
			if err := stop(t, p); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTheHookBesideItIsItsOwnWhereTheFolderIsKept(t *testing.T) {
	h := newHost(t)
	beside := filepath.Join(filepath.Dir(inlayNRI(t)), "inlay-hook")
	if err := os.WriteFile(beside, []byte("y"), 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(beside)
	own := installHook(t, h.root, beside, "devel")
	h.start()
	r := h.runtime(enginetest.Options{})
	waitPlugins(t, r)
	adjust, err := r.CreateContainer(t.Context(), testPod(), fpgaContainer())
	if err != nil || adjust.GetHooks().GetCreateRuntime()[0].Path != "/opt/inlay/bin/"+own {
		t.Errorf("%v, %v, want %s", adjust.GetHooks(), err, own)
	}
}

// In a host tree that stands apart the hook is called by its path on the machine, and kept in the tree.
func TestInATreeThatStandsApartVersionsAreKeptToo(t *testing.T) {
	h := newHost(t)
	source := ship(t, "x")
	old := installHook(t, h.root, ship(t, "o"), "v1")
	own := installHook(t, h.root, source, "devel")
	if err := os.MkdirAll(filepath.Join(h.root, "var/run/cdi"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.start("--hook-source", source, "--hook-host-root", h.root, "--hook-timeout", "2s")
	r := h.runtime(enginetest.Options{})
	waitPlugins(t, r)
	eventually(t, "the end of the old version", func() bool { return !slices.Contains(hookNames(t, h.root), old) })
	adjust, err := r.CreateContainer(t.Context(), testPod(), fpgaContainer())
	if want := filepath.Join(h.root, "opt/inlay/bin", own); err != nil || adjust.GetHooks().GetCreateRuntime()[0].Path != want {
		t.Errorf("%v, %v, want %s", adjust.GetHooks(), err, want)
	}
}

func TestOnlyVersionsThatNobodyNamesAreTakenAway(t *testing.T) {
	const created, running, stopped = api.ContainerState_CONTAINER_CREATED, api.ContainerState_CONTAINER_RUNNING, api.ContainerState_CONTAINER_STOPPED
	v1, v2, own := named("1", "v1"), named("2", "v2"), named("3", "v3")
	untold := withHook("untold", v1, created)
	untold.Hooks = nil
	poststop := &api.Container{Id: "c", Hooks: &api.Hooks{Poststop: []*api.Hook{{Path: "/elsewhere/" + v1}}}}
	for _, tt := range []struct {
		name       string
		containers []*api.Container
		cdi        map[string]string // nil: there is no such folder
		want       []string          // beside our own and the link
		log        string
	}{
		{"nobody", nil, map[string]string{}, nil, "is taken away"},
		{"plain containers", []*api.Container{plain()}, map[string]string{}, nil, "is taken away"},
		{"created and not started", []*api.Container{withHook("c", v1, created)}, map[string]string{}, []string{v1}, ""},
		{"running", []*api.Container{withHook("c", v2, running)}, map[string]string{}, []string{v2}, ""},
		{"stopped", []*api.Container{withHook("c", v1, stopped), withHook("d", v2, created)}, map[string]string{}, []string{v1, v2}, ""},
		{"of another stage and folder", []*api.Container{poststop}, map[string]string{}, []string{v1}, ""},
		{"the stable name", []*api.Container{withHook("c", "inlay-hook", created)}, map[string]string{}, nil, ""},
		{"hooks that the runtime does not tell", []*api.Container{untold}, map[string]string{}, []string{v1, v2}, "the runtime does not say which hooks container untold"},
		{"a CDI file", nil, map[string]string{"a.yaml": "hooks:\n- path: /opt/inlay/bin/" + v1 + "\n  args: [gate]\n"}, []string{v1}, ""},
		{"a CDI file of JSON", nil, map[string]string{"a.json": `{"path":"/opt/inlay/bin/` + v2 + `"}`}, []string{v2}, ""},
		{"a CDI file of the stable name", nil, map[string]string{"a.yaml": "path: /opt/inlay/bin/inlay-hook\n"}, nil, ""},
		{"no CDI file", nil, map[string]string{"a.yaml.bak": v1}, nil, ""},
		{"a CDI file that cannot be read", nil, map[string]string{"a.yaml": "DIR"}, []string{v1, v2}, "cannot be told"},
		{"no CDI folder", nil, nil, []string{v1, v2}, "cannot be told"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			for i, v := range []string{"v1", "v2", "v3"} {
				installHook(t, dir, ship(t, fmt.Sprint(i+1)), v)
			}
			if tt.cdi != nil {
				if err := os.MkdirAll(filepath.Join(dir, "var/run/cdi"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for name, text := range tt.cdi {
				file := filepath.Join(dir, "var/run/cdi", name)
				err := os.WriteFile(file, []byte(text), 0o644)
				if text == "DIR" {
					err = errors.Join(os.Remove(file), os.Mkdir(file, 0o755))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			root, err := hostfs.New(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			log, logs := logrustest.NewNullLogger()
			log.SetLevel(logrus.DebugLevel)
			v := &versions{own: own, tree: root, folder: "/opt/inlay/bin", root: root, cdi: "/var/run/cdi", log: log}
			r := &reconciler{log: log}
			r.versions.Store(v)
			r.Synchronize(context.Background(), nil, tt.containers)
			v.sweeps.Wait()
			want := append([]string{"inlay-hook", own}, tt.want...)
			slices.Sort(want)
			if got := hookNames(t, dir); !slices.Equal(got, want) {
				t.Errorf("left %q, want %q", got, want)
			}
			var text strings.Builder
			for _, e := range logs.AllEntries() {
				fmt.Fprintln(&text, e.Message, e.Data)
			}
			if !strings.Contains(text.String(), tt.log) {
				t.Errorf("logged %q, want %q", text.String(), tt.log)
			}
		})
	}
}

// CRI-O does not hold new plugins off while it creates a container: one whose hooks have not run may not be in the list.
func TestAVersionStaysWhileAContainerThatIsNotInTheListMayRunIt(t *testing.T) {
	const unnamed = 2 * time.Minute
	v1, v2, own := named("1", "v1"), named("2", "v2"), named("3", "v3")
	for _, tt := range []struct {
		name string
		then func(ctx context.Context, cancel func(), v *versions) // a second before v1 may go
		want []string                                              // a second after it
	}{
		{"nothing more", func(context.Context, func(), *versions) {}, []string{v2}},
		{"a list that names it", func(ctx context.Context, _ func(), v *versions) {
			v.sweepLater(ctx, []*api.Container{withHook("c", v1, api.ContainerState_CONTAINER_CREATED)})
		}, []string{v1, v2}},
		{"a list that does not, from which it counts anew", func(ctx context.Context, _ func(), v *versions) {
			v.sweepLater(ctx, nil)
		}, []string{v1, v2}},
		{"the end of the process", func(_ context.Context, cancel func(), _ *versions) { cancel() }, []string{v1, v2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := errors.Join(os.Chmod(dir, 0o755), os.MkdirAll(filepath.Join(dir, "var/run/cdi"), 0o755)); err != nil {
				t.Fatal(err)
			}
			for i, v := range []string{"v1", "v2", "v3"} {
				installHook(t, dir, ship(t, fmt.Sprint(i+1)), v)
			}
			root, err := hostfs.New(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			log, _ := logrustest.NewNullLogger()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				for name, written := range map[string]time.Time{v1: began.Add(-time.Hour), v2: began.Add(time.Second)} {
					if err := os.Chtimes(filepath.Join(dir, "opt/inlay/bin", name), written, written); err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				v := &versions{own: own, tree: root, folder: "/opt/inlay/bin", root: root, cdi: "/var/run/cdi", unnamed: unnamed, log: log}
				defer v.stop()
				v.sweepLater(ctx, nil)
				time.Sleep(unnamed - time.Second)
				synctest.Wait()
				if got := hookNames(t, dir); !slices.Contains(got, v1) {
					t.Fatalf("%q: gone while it may be run", got)
				}
				tt.then(ctx, cancel, v)
				time.Sleep(time.Second + time.Millisecond)
				synctest.Wait()
				want := append([]string{"inlay-hook", own}, tt.want...)
				slices.Sort(want)
				if got := hookNames(t, dir); !slices.Equal(got, want) {
					t.Errorf("left %q, want %q", got, want)
				}
			})
		})
	}
}

func TestAHookFolderThatCannotBeBelievedIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	v1 := installHook(t, dir, ship(t, "1"), "v1")
	own := installHook(t, dir, ship(t, "2"), "v2")
	if err := errors.Join(os.MkdirAll(dir+"/var/run/cdi", 0o755), os.Chmod(dir+"/opt/inlay/bin", 0o777)); err != nil {
		t.Fatal(err)
	}
	root, err := hostfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	log, logs := logrustest.NewNullLogger()
	v := &versions{own: own, tree: root, folder: "/opt/inlay/bin", root: root, cdi: "/var/run/cdi", log: log}
	v.sweep(t.Context(), map[string]bool{own: true})
	if got := hookNames(t, dir); !slices.Contains(got, v1) {
		t.Errorf("%q", got)
	}
	if e := logs.LastEntry(); e == nil || e.Level != logrus.WarnLevel || !strings.Contains(fmt.Sprint(e.Data), "others than root can write it") {
		t.Errorf("%+v", e)
	}
}
