package emulator

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// store knows which function a payload is: that of the bitstream below dir (directly, or one directory deeper) which has this payload.
type store struct {
	root, dir string // dir is looked up inside root if it lies there, so that the host's absolute links hold

	mu    sync.Mutex
	known map[string]*stored // by path
}

// stored is what was learned of one file while it had this version.
type stored struct {
	version fileVersion
	head    gbsHead
	size    int64  // of the payload, -1 = not a bitstream
	sum     string // of the payload, "" = not yet needed
}

func newStore(root, dir string) *store {
	return &store{root: root, dir: dir, known: map[string]*stored{}}
}

// open opens a file or directory below the store, as the host would.
func (s *store) open(rel string) (*os.File, error) {
	path := filepath.Join(s.dir, rel)
	host, inside := strings.CutPrefix(path, strings.TrimSuffix(s.root, "/")+"/")
	if !inside {
		return os.Open(path)
	}
	fd, err := openInRoot(s.root, "/"+host, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// identify gives the interface and function of a payload. If several bitstreams have it, one for the preferred
// interface counts, then the first by path.
func (s *store) identify(size int64, sum, prefer string) (head gbsHead, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rel := range s.list() {
		b := s.look(rel, size)
		if b == nil || b.size != size || b.sum != sum {
			continue
		}
		if b.head.iface == prefer {
			return b.head, true
		}
		if !ok {
			head, ok = b.head, true
		}
	}
	return head, ok
}

func (s *store) list() []string {
	var files []string
	for _, name := range s.names("") {
		if isBitstream(name) {
			files = append(files, name)
			continue
		}
		for _, inner := range s.names(name) {
			if isBitstream(inner) {
				files = append(files, filepath.Join(name, inner))
			}
		}
	}
	slices.Sort(files)
	return files
}

func isBitstream(name string) bool {
	return strings.HasSuffix(name, ".gbs") || strings.HasSuffix(name, ".aocx")
}

func (s *store) names(rel string) []string {
	d, err := s.open(rel)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1) // a file among the directories: no names
	return names
}

// look gives what is known of a file, reading it if it is new or changed. The payload is hashed only where its size is the one in question.
func (s *store) look(rel string, size int64) *stored {
	f, err := s.open(rel)
	if err != nil {
		return nil
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	version := fileVersion{fileID{st.Dev, st.Ino}, st.Size, st.Mtim}
	b := s.known[rel]
	if b == nil || b.version != version {
		b = &stored{version: version}
		s.known[rel] = b
		b.read(f, strings.HasSuffix(rel, ".aocx"))
	}
	if b.size == size && b.sum == "" {
		h := sha256.New()
		if _, err := io.Copy(h, io.NewSectionReader(f, b.head.offset, size)); err == nil {
			b.sum = hex.EncodeToString(h.Sum(nil))
		}
	}
	return b
}

// read learns head and payload size; an AOCX has to be unpacked for that, so its hash comes along.
func (b *stored) read(f *os.File, aocx bool) {
	b.size = -1
	if !aocx {
		head, err := readGBSHead(io.NewSectionReader(f, 0, b.version.size))
		if err == nil {
			b.head, b.size = head, b.version.size-head.offset
		}
		return
	}
	gbs, err := openAOCX(f)
	if err != nil {
		return
	}
	head, err := readGBSHead(gbs)
	if err != nil {
		return
	}
	h := sha256.New()
	n, err := io.Copy(h, gbs)
	if err == nil {
		b.head, b.size, b.sum = head, n, hex.EncodeToString(h.Sum(nil))
	}
}
