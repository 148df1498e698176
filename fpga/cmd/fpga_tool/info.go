package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/inlay-project/inlay/fpga/bitstream"
)

// bitstreamReport is what info says of a file.
type bitstreamReport struct {
	File        string `json:"file"`
	Kind        string `json:"kind"`
	Interface   string `json:"interface"`
	AFU         string `json:"afu"`
	Unique      string `json:"unique"`
	InstallPath string `json:"installPath"` // "" if the file cannot be installed
	PayloadSize int64  `json:"payloadSize"` // bytes
	Board       string `json:"board,omitempty"`
	Target      string `json:"target,omitempty"`
	Hash        string `json:"hash,omitempty"`
	Version     string `json:"version,omitempty"`
}

func (t *tool) info(context.Context) error {
	b, err := t.openBitstream()
	if err != nil {
		return err
	}
	defer b.Close()
	info := b.Info()
	r := bitstreamReport{
		File: info.Path, Kind: string(info.Kind), Interface: string(info.Interface), AFU: string(info.AFU),
		Unique: string(info.Unique), InstallPath: t.installPath(info), PayloadSize: info.PayloadSize,
		Board: info.Board, Target: info.Target, Hash: info.Hash, Version: info.Version,
	}
	if t.options.json() {
		return t.printJSON(r)
	}
	err = table(t.stdout, "", 0, []field{
		{"Bitstream file", strconv.Quote(r.File)},
		{"Interface UUID", strconv.Quote(r.Interface)},
		{"Accelerator Type UUID", strconv.Quote(r.AFU)},
		{"Unique UUID", strconv.Quote(r.Unique)},
		{"Installation Path", strconv.Quote(r.InstallPath)},
	})
	if err != nil || t.options.quiet {
		return err
	}
	extra := []field{{"Size", strconv.FormatInt(r.PayloadSize, 10)}}
	if info.Kind == bitstream.AOCX {
		extra = append(extra, field{"Board", printable(r.Board)}, field{"Target", printable(r.Target)},
			field{"Hash", printable(r.Hash)}, field{"Version", printable(r.Version)})
	}
	if _, err := fmt.Fprintln(t.stdout, "Extra:"); err != nil {
		return err
	}
	return table(t.stdout, "    ", 0, extra)
}

// installPath is the place of a file in the store, a path as this process sees it; "" if the file does not say where
// it belongs.
func (t *tool) installPath(info bitstream.Info) string {
	if info.Interface == "" || info.Unique == "" {
		return ""
	}
	return filepath.Clean(bitstream.StorePath(t.options.store, info.Interface, info.Unique, info.Kind))
}
