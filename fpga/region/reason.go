package region

import (
	"context"
	"errors"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/bitstream"
)

// Reason puts an error of Ensure into one word, for counting: "pr" (the kernel or the card refused), "bitstream",
// "device" (it is not there), "wait" (somebody else had it until the deadline) or "other".
func Reason(err error) string {
	var refused *fpga.PRError
	switch {
	case errors.As(err, &refused):
		return "pr"
	case errors.Is(err, bitstream.ErrNotFound), errors.Is(err, bitstream.ErrInvalid),
		errors.Is(err, bitstream.ErrMismatch), errors.Is(err, bitstream.ErrTooLarge):
		return "bitstream"
	case errors.Is(err, fpga.ErrNoDevice):
		return "device"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return "wait"
	}
	return "other"
}
