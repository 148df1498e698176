package bitstream

import (
	"errors"
	"io/fs"
	"os"
	"path"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/internal/hostfs"
)

// StorePath is the place of a file in a store (spec section 3.1).
func StorePath(store string, iface fpga.InterfaceID, fn fpga.FunctionID, kind Kind) string {
	return path.Join(store, string(iface), string(fn)+"."+string(kind))
}

// Open finds a function in a store and verifies the file in full: ids, lengths, for an AOCX file gzip's checksum.
// store is a host path. <fn>.gbs comes before <fn>.aocx; the first that exists is used, also if it is broken. Links,
// which only the store's owner can have put there, are followed inside root.
//
// Errors: ErrNotFound, ErrInvalid, ErrMismatch, ErrTooLarge, or the file system's own.
func Open(root *hostfs.Root, store string, iface fpga.InterfaceID, fn fpga.FunctionID, opts Options) (*Bitstream, error) {
	f, place, kind, err := find(root, store, iface, fn)
	if err != nil {
		return nil, err
	}
	b, err := verify(f, place, kind, opts)
	if err != nil {
		return nil, err
	}
	if err := b.info.mustBe(iface, fn); err != nil {
		b.Close()
		return nil, located(place, err)
	}
	return b, nil
}

// CheckHeader finds a function as Open does and checks what a bounded read can tell: ids, lengths, the AOCX file's
// sections. It maps and unpacks nothing. A file of the usual kind costs a few KiB of reads, a hostile one well under
// 1 MiB.
func CheckHeader(root *hostfs.Root, store string, iface fpga.InterfaceID, fn fpga.FunctionID, opts Options) (Info, error) {
	f, place, kind, err := find(root, store, iface, fn)
	if err != nil {
		return Info{}, err
	}
	defer f.Close()
	info := Info{Path: place, Kind: kind}
	if err := info.readHeader(f, opts.most()); err != nil {
		return Info{}, located(place, err)
	}
	if err := info.mustBe(iface, fn); err != nil {
		return Info{}, located(place, err)
	}
	return info, nil
}

// Stat finds a function as Open does and says which version of which file it is, by its host path. Nothing is read.
func Stat(root *hostfs.Root, store string, iface fpga.InterfaceID, fn fpga.FunctionID) (Identity, string, error) {
	f, place, _, err := find(root, store, iface, fn)
	if err != nil {
		return Identity{}, "", err
	}
	defer f.Close()
	id, err := identify(f)
	return id, place, located(place, err)
}

// find opens the file of a function. The ids are checked again here, whoever made them: they become a path.
func find(root *hostfs.Root, store string, iface fpga.InterfaceID, fn fpga.FunctionID) (*os.File, string, Kind, error) {
	if got, err := fpga.ParseInterfaceID(string(iface)); err != nil || got != iface {
		return nil, "", "", invalid("bitstream of interface %.80q: not an interface id", iface)
	}
	if got, err := fpga.ParseFunctionID(string(fn)); err != nil || got != fn {
		return nil, "", "", invalid("bitstream of function %.80q: not a function id", fn)
	}
	for _, kind := range []Kind{GBS, AOCX} {
		place := StorePath(store, iface, fn, kind)
		f, err := root.Open(place, openFlags)
		if err == nil {
			return f, place, kind, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, "", "", located(place, err)
		}
	}
	place := StorePath(store, iface, fn, GBS)
	return nil, "", "", located(place, fail(ErrNotFound, "not found, nor is a .aocx file of that name"))
}

func (i *Info) readHeader(f *os.File, most int64) error {
	var err error
	if i.Identity, err = identify(f); err != nil {
		return err
	}
	if i.Kind == GBS {
		h, size, err := gbsHead(f, i.Identity.Size, most)
		if err != nil {
			return err
		}
		i.describeGBS(h, size)
		return nil
	}
	a, err := readAOCX(f, i.Identity.Size)
	if err != nil {
		return err
	}
	i.describeAOCX(a)
	if !a.programmable {
		return errNothing()
	}
	h, err := a.peek()
	if err != nil {
		return err
	}
	i.Interface, i.AFU = h.iface, h.afu
	return nil
}

// mustBe compares what a file says of itself with the place where it was found.
func (i *Info) mustBe(iface fpga.InterfaceID, fn fpga.FunctionID) error {
	if i.Kind == AOCX && i.Interface == "" {
		return errNothing()
	}
	if i.Interface != iface {
		return fail(ErrMismatch, "is for interface %s, not %s", i.Interface, iface)
	}
	if i.Unique != fn {
		return fail(ErrMismatch, "holds function %q, not %s", i.Unique, fn)
	}
	return nil
}
