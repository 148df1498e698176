package region

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/fpga"
	"github.com/inlay-project/inlay/fpga/bitstream"
	"github.com/inlay-project/inlay/fpga/card"
)

// settle is how long the id of a port may stay unreadable: a card takes up to 32 s over a reconfiguration that fails,
// and one whose process was killed may still be running when we get the lock.
const settle = 40 * time.Second

// errInReset says that a port's id stayed unreadable: nobody knows what it holds.
var errInReset = errors.New("the port is held in reset")

// readAFU reads what the port holds, waiting out a reconfiguration for as long as patience.
func (j *job) readAFU(ctx context.Context, patience time.Duration) (fpga.AFUID, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errInReset)
	defer cancel()
	var afu fpga.AFUID
	var last error
	err := poll(ctx, func() (bool, error) {
		afu, last = card.ReadAFU(j.p.Root, j.port.SysPath)
		if errors.Is(last, unix.EBUSY) {
			return false, nil
		}
		return true, last
	})
	if err != nil && errors.Is(last, unix.EBUSY) {
		return "", fmt.Errorf("%w: %w", last, err)
	}
	if err != nil {
		return "", fmt.Errorf("afu_id: %w", err)
	}
	if afu.AllOnes() {
		return afu, errors.New("reads as all ones: the card does not answer")
	}
	return afu, nil
}

// look tells whether the port holds the function already. A port that stays in reset, as the kernel leaves one behind
// whose reconfiguration failed, holds nothing, and another reconfiguration is what brings it back. So does one whose id is
// blank or garbage; one without an id could not be read back.
func (j *job) look(ctx context.Context) (bool, error) {
	record, err := ReadRecord(j.p.RunDir, j.fme, j.port.ID)
	if err != nil {
		record = &Record{Boot: j.boot} // something was recorded; not knowing what, we believe nothing
	}
	patience := settle
	if record != nil && record.State == Failed && record.Boot == j.boot {
		patience = 0 // whoever left it in reset saw the end of its call, and we have the lock
	}
	afu, err := j.readAFU(ctx, patience)
	if noID := (card.NoIDError{}); errors.Is(err, errInReset) || errors.As(err, &noID) {
		return false, nil
	}
	j.afu = afu
	if j.req.Force && ctx.Err() == nil { // whatever the id reads as: a function that broke the port goes with it
		return false, nil
	}
	if err != nil {
		return false, err
	}
	file, err := j.identity()
	if err != nil {
		return false, err
	}
	return Holds(afu, record, j.boot, j.req.Function, file), nil
}

// identity tells which file the function is now; the empty identity if the store has none. That equals no record's, so
// a port that was programmed from a file which is gone is refused like any other; only a port that sysfs alone vouches
// for (see Holds) does not need it.
func (j *job) identity() (bitstream.Identity, error) {
	if j.req.File != "" {
		return fileIdentity(j.req.File)
	}
	id, _, err := bitstream.Stat(j.p.Root, j.p.Store, j.req.Interface, j.req.Function)
	if errors.Is(err, bitstream.ErrNotFound) {
		return bitstream.Identity{}, nil
	}
	return id, err
}

func fileIdentity(path string) (bitstream.Identity, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return bitstream.Identity{}, &bitstream.Error{Path: path, Kind: bitstream.ErrNotFound, Err: err}
	}
	return bitstream.Identity{Dev: st.Dev, Ino: st.Ino, Size: st.Size, MtimeNS: st.Mtim.Nano()}, nil
}

// verify opens the bitstream and checks it in full: form, interface, function.
func (j *job) verify() error {
	j.p.tell(j.req, Verifying)
	opts := bitstream.Options{MaxBytes: j.p.MaxBitstream}
	var err error
	if j.req.File == "" {
		j.file, err = bitstream.Open(j.p.Root, j.p.Store, j.req.Interface, j.req.Function, opts)
		return err
	}
	j.file, err = bitstream.OpenFile(j.req.File, opts)
	if err != nil {
		return err
	}
	info := j.file.Info()
	if info.Interface != j.req.Interface {
		return j.mismatch("is for interface %s, %s has %s", info.Interface, j.fme.Name, j.req.Interface)
	}
	if info.Unique != j.req.Function {
		return j.mismatch("holds function %s", info.Unique)
	}
	return nil
}

func (j *job) mismatch(format string, args ...any) error {
	return &bitstream.Error{Path: j.req.File, Kind: bitstream.ErrMismatch, Err: fmt.Errorf(format, args...)}
}

// guarded keeps a bug in the job from ending the process with a trace and no word to whoever waits.
func (j *job) guarded() (err error) {
	defer func() {
		if bug := recover(); bug != nil {
			err = fmt.Errorf("internal error: %v", bug)
		}
	}()
	return j.program()
}

// program runs from the record's mark to the record. It is not interrupted.
func (j *job) program() error {
	driver, _ := card.DriverOf(j.port.Name)
	info := j.file.Info()
	payload, err := j.file.Payload()
	if err != nil {
		return err
	}
	fme, err := card.OpenNode(j.p.Root, j.fme.Node, j.fme.Dev, 0)
	if err != nil {
		return err
	}
	defer fme.Close()
	record := Record{
		State: Programming, Function: j.req.Function, AFU: info.AFU, File: info.Identity, Boot: j.boot, Time: time.Now(),
	}
	if err := writeRecord(j.p.RunDir, j.fme, j.port.ID, record); err != nil {
		return err
	}
	defer touch(j.p.RunDir)

	began := time.Now()
	err = driver.Program(fme, j.port.ID, payload.Addr, payload.Size)
	j.took = time.Since(began)
	if err != nil {
		var refused *fpga.PRError
		if errors.As(err, &refused) && errors.Is(err, unix.EIO) {
			refused.Manager = card.ManagerStatus(j.p.Root, j.fme)
		}
	} else {
		err = j.readBack(info)
	}
	record.State, record.Time = Loaded, time.Now()
	if err != nil {
		record.State = Failed
		_ = writeRecord(j.p.RunDir, j.fme, j.port.ID, record) // the mark of the beginning says nearly the same
		return err
	}
	return writeRecord(j.p.RunDir, j.fme, j.port.ID, record)
}

// errReadBack says that a port does not hold what the kernel says it was given.
var errReadBack = errors.New("read back")

// readBack checks that what the card holds now is what was verified before.
func (j *job) readBack(info bitstream.Info) error {
	if err := j.file.Unchanged(); err != nil {
		return err // it was written to after it was verified: nobody knows what the kernel read
	}
	var err error
	if j.afu, err = j.readAFU(context.Background(), settle); err != nil {
		return fmt.Errorf("%w: %w", errReadBack, err)
	}
	if j.afu != info.AFU {
		return fmt.Errorf("%w %s, expected %s", errReadBack, j.afu, info.AFU)
	}
	return nil
}

// result tells the caller what came of a job that ran to its end.
func (j *job) result(res *Result, err error) error {
	res.PR, res.AFU, res.Programmed = j.took, j.afu, err == nil
	return err
}
