package ocitest

import "runtime"

// Names of the images that the integration tests use. The runtime never asks a
// registry for them: they are imported, and .test is a reserved domain.
const (
	PauseName    = "inlay.test/pause:1"
	WorkloadName = "inlay.test/workload:1"
)

// Busybox is where Debian's busybox-static puts the program.
const Busybox = "/bin/busybox"

// applets are the busybox commands that the test containers use.
var applets = [...]string{
	"cat", "cp", "date", "dd", "echo", "env", "false", "grep", "head", "id", "ls", "mkdir", "mknod", "mount", "ps", "rm", "sh",
	"sleep", "stat", "sync", "test", "touch", "true", "wc",
}

// Pause is the image that holds a pod's namespaces open. As the first process of a PID
// namespace, busybox does not end by SIGTERM.
func Pause(busybox File) Image {
	return Image{
		Name: PauseName, Files: []File{busybox}, Entrypoint: []string{busybox.Path, "sleep", "2147483647"}, StopSignal: "SIGKILL",
	}
}

// Workload is the image of the test containers: a shell with the usual commands, and
// afuRead as /bin/afu-read.
func Workload(busybox, afuRead File) Image {
	files := []File{
		busybox, afuRead,
		{Path: "/etc/passwd", Data: []byte("root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")},
		{Path: "/etc/group", Data: []byte("root:x:0:\nuser:x:1000:\n")},
		{Path: "/tmp/.keep"},
	}
	for _, a := range applets {
		files = append(files, File{Path: "/bin/" + a, Target: busybox.Path})
	}
	return Image{
		Name: WorkloadName, Files: files, Cmd: []string{"/bin/sh"},
		Env: []string{"PATH=/bin", "IMAGE_ARCH=" + runtime.GOARCH},
	}
}
