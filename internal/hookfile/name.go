package hookfile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// Name is the stable name, and how the program calls itself.
const Name = "inlay-hook"

const (
	maxVersion  = 64 // characters of a version in a file name
	shortDigest = 8  // hex digits of a digest in a file name
)

// Digest is the SHA-256 of a program.
type Digest [sha256.Size]byte

// Sum reads r to its end.
func Sum(r io.Reader) (d Digest, err error) {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return d, err
	}
	return Digest(h.Sum(nil)), nil
}

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

func (d Digest) short() string { return d.String()[:shortDigest] }

// FileName gives the name of one build: inlay-hook-<version>-<8 hex digits>. What a file name should not have in it is
// replaced in the version; the digest tells two builds apart all the same.
func FileName(version string, d Digest) string {
	version = strings.Map(func(r rune) rune {
		if !inVersion(r) {
			return '_'
		}
		return r
	}, version)
	if version == "" {
		version = "devel"
	}
	return fmt.Sprintf("%s-%s-%s", Name, version[:min(len(version), maxVersion)], d.short())
}

// Versioned tells whether a file name is one that FileName gives.
func Versioned(name string) bool {
	rest, ours := strings.CutPrefix(name, Name+"-")
	at := strings.LastIndexByte(rest, '-')
	if !ours || at < 1 || at > maxVersion {
		return false
	}
	version, digest := rest[:at], rest[at+1:]
	if len(digest) != shortDigest || strings.Trim(digest, "0123456789abcdef") != "" {
		return false
	}
	return strings.IndexFunc(version, func(r rune) bool { return !inVersion(r) }) < 0
}

func inVersion(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
}

// unfinished begins the names of files that are not in place yet.
const unfinished = "." + Name + "-host."

// Leftover tells whether a name is that of a file which an installer left that was killed.
func Leftover(name string) bool { return strings.HasPrefix(name, unfinished) }
