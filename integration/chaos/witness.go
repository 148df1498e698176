package chaos

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/inlay-project/inlay/integration/cluster"
)

// A pod of chaos says what it sees, several times a second, in a file of the host's: nothing that can be killed is
// between the container and us. A file is a container; a line is
//
//	<seconds since boot> [<port>=<AFU id, or ! and why there is none>]…
const (
	witnessDir  = "var/log/witness" // of the node
	forEver     = 1 << 30
	jobReadings = 8

	script = `f=$(mktemp /witness/$POD.XXXXXX) || exit 1
n=0
while [ $n -lt $READINGS ]; do
  line=
  for d in /dev/dfl-* /dev/intel-fpga-*; do
    [ -e "$d" ] || continue
    case $d in
    *port*) id=$(afu-read "$d" 2>&1) || id="!$(echo "$id" | tr ' ' _)" ;;
    *) id='!not_a_port' ;;
    esac
    line="$line ${d#/dev/}=$id"
  done
  read -r up rest </proc/uptime
  echo "$up$line" >>$f
  n=$((n + 1))
  sleep 0.3
done`
)

// witnessed makes the pod one that says what it sees, so many times.
func witnessed(s *cluster.PodSpec, readings int) {
	if s.Env == nil {
		s.Env = map[string]string{}
	}
	s.Env["POD"], s.Env["READINGS"], s.Script = s.Name, strconv.Itoa(readings), script
	s.Change = func(p *corev1.Pod) {
		dir := corev1.HostPathDirectory
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "witness", VolumeSource: corev1.VolumeSource{
			HostPath: &corev1.HostPathVolumeSource{Path: "/" + witnessDir, Type: &dir},
		}})
		c := &p.Spec.Containers[0]
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "witness", MountPath: "/witness"})
	}
}

// Reading is what a container saw at one moment.
type Reading struct {
	Pod, Container string        // the container by its file: it is not the runtime's id
	At             time.Duration // since boot
	Ports          map[string]string
}

// witnesses follows the files.
type witnesses struct {
	dir  string
	read map[string]int64 // bytes, by file
	// Began is when each container of a pod first said something, in the order of the files' names.
	began map[string]map[string]time.Duration
	// last is when each pod said something last, gap the longest time that any container took from one line to the next.
	last map[string]time.Duration
	gap  time.Duration
}

func newWitnesses(dir string) (*witnesses, error) {
	// Of all users: what runs in a pod is anybody.
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	return &witnesses{dir: dir, read: map[string]int64{}, began: map[string]map[string]time.Duration{}, last: map[string]time.Duration{}}, os.Chmod(dir, 0o777)
}

// next gives what was said since the last call.
func (w *witnesses) next() ([]Reading, error) {
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return nil, err
	}
	var all []Reading
	for _, e := range entries {
		pod, _, ok := strings.Cut(e.Name(), ".")
		if !ok {
			continue
		}
		some, err := w.follow(pod, e.Name())
		if err != nil {
			return all, err
		}
		all = append(all, some...)
	}
	return all, nil
}

func (w *witnesses) follow(pod, name string) ([]Reading, error) {
	data, err := readFrom(filepath.Join(w.dir, name), w.read[name])
	if err != nil {
		return nil, err
	}
	var all []Reading
	for line := range strings.Lines(string(data)) {
		if !strings.HasSuffix(line, "\n") {
			break // it is being written
		}
		w.read[name] += int64(len(line))
		r, err := parseReading(strings.TrimSpace(line))
		if err != nil {
			return nil, fmt.Errorf("witness %s: %w", name, err)
		}
		r.Pod, r.Container = pod, name
		if w.began[pod] == nil {
			w.began[pod] = map[string]time.Duration{}
		}
		if _, known := w.began[pod][name]; !known {
			w.began[pod][name] = r.At
		} else {
			w.gap = max(w.gap, r.At-w.last[pod])
		}
		w.last[pod] = r.At
		all = append(all, r)
	}
	return all, nil
}

func readFrom(file string, offset int64) ([]byte, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.Size() <= offset {
		return nil, err
	}
	data := make([]byte, st.Size()-offset)
	n, err := f.ReadAt(data, offset)
	return data[:n], err
}

func parseReading(line string) (Reading, error) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return Reading{}, errors.New("an empty line")
	}
	seconds, err := strconv.ParseFloat(words[0], 64)
	if err != nil {
		return Reading{}, fmt.Errorf("%q: %w", line, err)
	}
	r := Reading{At: time.Duration(seconds * float64(time.Second)), Ports: map[string]string{}}
	for _, w := range words[1:] {
		port, id, ok := strings.Cut(w, "=")
		if !ok {
			return Reading{}, fmt.Errorf("%q: want <port>=<what it reads>", line)
		}
		r.Ports[port] = id
	}
	return r, nil
}
