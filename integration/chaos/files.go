package chaos

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/integration"
)

// What can be done to a bitstream of the store.
const (
	stateGood      = "good"      // as it is from the beginning
	stateNew       = "new"       // another file of the same function, by rename
	stateRewritten = "rewritten" // the same in place, bit by bit, as cp does it
	stateTorn      = "torn"      // in place, again and again, with the other function and its own, for a second
	stateWrong     = "wrong"     // by rename, and it holds the other function
	stateHalf      = "half"      // what a copy leaves when the disk is full
	stateGone      = "gone"
	stateDated     = "dated" // its date is in the future
)

func bitstreamStates() []string {
	return []string{stateNew, stateNew, stateRewritten, stateTorn, stateTorn, stateWrong, stateHalf, stateGone, stateDated}
}

// payloadBytes is the size of bitstreams' payloads; what is new is a little larger.
const payloadBytes = 64<<10 + 3

func (s *Scene) bitstreamFile(function string) string {
	return filepath.Join(s.c.Bitstreams(), integration.Interface, functions[function]+".gbs")
}

// store makes the bitstream of a function what it is to be.
func (s *Scene) store(function, state string) error {
	file := s.bitstreamFile(function)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	own, err := emulator.GBS(integration.Interface, functions[function], payloadBytes)
	if err != nil {
		return err
	}
	other, err := emulator.GBS(integration.Interface, functions[otherThan(function)], payloadBytes)
	if err != nil {
		return err
	}
	switch state {
	case stateGood:
		return replace(file, own)
	case stateNew:
		s.files++
		larger, err := emulator.GBS(integration.Interface, functions[function], payloadBytes+s.files%1000)
		if err != nil {
			return err
		}
		return replace(file, larger)
	case stateRewritten:
		s.inBackground(func() error { return rewrite(file, own) })
	case stateTorn:
		s.inBackground(func() error {
			for range 4 {
				if err := errors.Join(rewrite(file, other), rewrite(file, own)); err != nil {
					return err
				}
			}
			return nil
		})
	case stateWrong:
		return replace(file, other)
	case stateHalf:
		return replace(file, own[:len(own)/2])
	case stateGone:
		if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	case stateDated:
		at := time.Now().AddDate(1, 0, 0)
		return os.Chtimes(file, at, at)
	default:
		return fmt.Errorf("%q is nothing that a bitstream can be", state)
	}
	return nil
}

// replace writes a file by rename.
func replace(file string, data []byte) error {
	temporary := file + ".new"
	if err := os.WriteFile(temporary, data, 0o644); err != nil {
		_ = os.Remove(temporary) // it takes room
		return err
	}
	return os.Rename(temporary, file)
}

// rewrite writes a file in place, slowly.
func rewrite(file string, data []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	const parts = 8
	for i := range parts {
		if _, err := f.Write(data[i*len(data)/parts : (i+1)*len(data)/parts]); err != nil {
			return err
		}
		time.Sleep(15 * time.Millisecond)
	}
	return nil
}

// policyFile is the node's copy of the mappings.
const policyFile = "/var/lib/inlay/policy.json"

// policyHead is how the file begins, up to its date, which has one width; see deviceplugins/mirror.
const (
	policyHead = `{"format":1,"synced":"`
	dateLayout = "2006-01-02T15:04:05Z"
)

// clock makes the policy file look as it would after a jump of the clock. The date is written in place: a mirror that
// writes the file at the same moment writes another file, and that one counts.
func (s *Scene) clock(jump time.Duration) error {
	f, err := os.OpenFile(s.at(policyFile), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, len(policyHead)+len(dateLayout))
	if _, err := f.ReadAt(head, 0); err != nil {
		return err
	}
	if _, err := time.Parse(policyHead+dateLayout, string(head)); err != nil {
		return fmt.Errorf("%s: %w", policyFile, err)
	}
	_, err = f.WriteAt([]byte(time.Now().Add(-jump).UTC().Format(dateLayout)), int64(len(policyHead)))
	return err
}
