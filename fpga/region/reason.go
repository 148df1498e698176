package region

import (
	"errors"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/bitstream"
)

// Reason puts an error of Ensure into one word, for counting: "pr" (the kernel or the card refused, or the port reads
// back as something else), "bitstream", "device" (it is not there), "wait" (the deadline came first) or "other".
func Reason(err error) string {
	var refused *fpga.PRError
	switch {
	case errors.As(err, &refused), errors.Is(err, errReadBack):
		return "pr"
	case errors.Is(err, bitstream.ErrNotFound), errors.Is(err, bitstream.ErrInvalid),
		errors.Is(err, bitstream.ErrMismatch), errors.Is(err, bitstream.ErrTooLarge), errors.Is(err, bitstream.ErrChanged):
		return "bitstream"
	case errors.Is(err, fpga.ErrNoDevice):
		return "device"
	case errors.As(err, new(waitError)):
		return "wait"
	}
	return "other"
}
