package critest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/inlay-project/inlay/integration/ocitest"
)

// Where critest 1.34 pulls its images from; the names are compiled in.
const (
	e2eImages     = "registry.k8s.io/e2e-test-images/"
	stagingImages = "gcr.io/k8s-staging-cri-tools/"
)

// hostPort is where the image for the host's network serves; critest asks there.
const hostPort = "12003"

// Images makes the stand-ins for all images that critest pulls; programs are built into
// dir. Busybox is Debian's busybox-static.
func Images(ctx context.Context, dir string) ([]ocitest.Image, error) {
	busybox, err := shellFiles(ctx)
	if err != nil {
		return nil, err
	}
	web, err := program(ctx, dir, "webserver")
	if err != nil {
		return nil, err
	}
	euid, err := program(ctx, dir, "euid")
	if err != nil {
		return nil, err
	}
	nginx := ocitest.File{Path: "/usr/sbin/nginx", Mode: 0o755, Data: web}
	httpd := ocitest.File{Path: "/usr/sbin/httpd", Mode: 0o755, Data: web}
	setuid := ocitest.File{Path: "/nnp", Mode: 0o4755, Data: euid}
	pidFile := []string{"-pid-file", "/var/run/nginx.pid"}

	shell := image(e2eImages+"busybox:1.29-2", busybox)
	shell.Cmd = []string{"sh"}
	images := []ocitest.Image{
		shell,
		serving(e2eImages+"nginx:1.14-2", busybox, nginx, append(pidFile, "master process")...),
		serving(e2eImages+"httpd:2.4.39-4", busybox, httpd),
		serving(stagingImages+"hostnet-nginx-"+runtime.GOARCH+":latest", busybox, nginx, append(pidFile, "-port", hostPort, "master process")...),
		{Name: e2eImages + "nonewprivs:1.3", Files: []ocitest.File{setuid}, Entrypoint: []string{setuid.Path}},
		predefinedGroup(busybox),
	}
	return append(images, pulledImages()...), nil
}

// pulledImages are those that are pulled, listed and removed, and never run. Each has a
// file of its own, so that each has an id of its own; those of one repository tags have
// one id.
func pulledImages() []ocitest.Image {
	named := func(reference, text, user string) ocitest.Image {
		return ocitest.Image{
			Name: stagingImages + reference, User: user,
			Files: []ocitest.File{{Path: "/image", Data: []byte(text)}},
		}
	}
	images := []ocitest.Image{
		named("test-image-latest:latest", "latest", ""), named("test-image-tag:test", "test", ""), named("test-image-tag:all", "all", ""),
		named("test-image-user-uid:latest", "uid", "1002"), named("test-image-user-uid-group:latest", "uid-group", "1003:1003"),
		named("test-image-user-username:latest", "username", "www-data"),
		named("test-image-user-username-group:latest", "username-group", "www-data:www-data"),
	}
	for _, n := range []string{"1", "2", "3"} {
		images = append(images, named("test-image-"+n+":latest", n, ""), named("test-image-tags:"+n, "tags", ""))
	}
	return images
}

// searchPath is that of Docker's busybox image: critest runs programs by their names.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func image(name string, files []ocitest.File) ocitest.Image {
	return ocitest.Image{Name: name, Files: files, Env: []string{searchPath}}
}

func serving(name string, shell []ocitest.File, server ocitest.File, arguments ...string) ocitest.Image {
	i := image(name, append(shell[:len(shell):len(shell)], server))
	i.Entrypoint = append([]string{filepath.Base(server.Path)}, arguments...)
	return i
}

// predefinedGroup is an image whose user is in a group that only its own files name.
func predefinedGroup(shell []ocitest.File) ocitest.Image {
	i := image(stagingImages+"test-image-predefined-group:latest", nil)
	for _, f := range shell {
		switch f.Path {
		case "/etc/passwd":
			f.Data = append(f.Data[:len(f.Data):len(f.Data)], "default-user:x:1000:1000::/:/bin/sh\n"...)
		case "/etc/group":
			f.Data = append(f.Data[:len(f.Data):len(f.Data)], "default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n"...)
		}
		i.Files = append(i.Files, f)
	}
	i.User = "1000"
	return i
}

// shellFiles are what critest expects of a busybox image: its commands, and the two that
// Debian's busybox lacks.
func shellFiles(ctx context.Context) ([]ocitest.File, error) {
	const target = "/bin/busybox"
	busybox, err := ocitest.FromHost(target, ocitest.Busybox)
	if err != nil {
		return nil, err
	}
	files := []ocitest.File{
		busybox,
		{Path: "/bin/ipcs", Mode: 0o755, Data: []byte("#!/bin/sh\nexec cat /proc/sysvipc/shm\n")},
		{Path: "/bin/pgrep", Mode: 0o755, Data: []byte("#!/bin/sh\nexec pidof \"$1\"\n")},
		{Path: "/etc/passwd", Data: []byte("root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")},
		{Path: "/etc/group", Data: []byte("root:x:0:\nwww-data:x:33:\nnobody:x:65534:\n")},
		{Path: "/root/.keep"},
		{Path: "/tmp/.keep"},
		{Path: "/var/run/.keep"},
		{Path: "/home/.keep"},
	}
	list, err := exec.CommandContext(ctx, ocitest.Busybox, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("busybox --list: %w", err)
	}
	for name := range strings.FieldsSeq(string(list)) {
		switch name {
		case "busybox", "httpd": // that one is a server of ours
		default:
			files = append(files, ocitest.File{Path: "/bin/" + name, Target: target})
		}
	}
	return files, nil
}

// program compiles a stand-in of integration/workload, static.
func program(ctx context.Context, dir, name string) ([]byte, error) {
	var stderr bytes.Buffer
	out := filepath.Join(dir, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out,
		"github.com/inlay-project/inlay/integration/workload/"+name)
	cmd.Env, cmd.Stderr = append(os.Environ(), "CGO_ENABLED=0"), &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("build %s: %w\n%s", name, err, stderr.Bytes())
	}
	return os.ReadFile(out)
}
