package vfio

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/inlay-project/inlay/internal/hostfs"
)

const (
	firstRetry = 5 * time.Second
	mostRetry  = 5 * time.Minute
)

// Bindable tells what stands in the way of binding a function to a driver, nil if nothing can be seen. It writes nothing.
// from are the drivers that the function may be taken from.
func Bindable(root *hostfs.Root, d Device, driver string, from ...string) error {
	switch {
	case d.IsPF(root):
		return &Obstacle{Reason: "it is a PF: its driver stays"}
	case !root.Exists(Drivers + "/" + driver):
		return &Obstacle{
			Reason: fmt.Sprintf("it is bound to %s, and the driver %s is not loaded", orNone(d.Driver), driver),
			Remedy: "modprobe " + driver,
		}
	case d.Driver != "" && !slices.Contains(from, d.Driver):
		return &Obstacle{
			Reason: fmt.Sprintf("it is bound to %s, and who uses it there cannot be told", d.Driver),
			Remedy: "if nobody does: " + Command(d, driver),
		}
	}
	if denied, certain := Denylisted(root, d.ID); driver == DriverPCI && denied && certain {
		return &Obstacle{Reason: "vfio-pci refuses it: its kind is on the driver's denylist", Remedy: denylistRemedy}
	}
	return nil
}

// Command is what does the same as Bind in a shell on the host.
func Command(d Device, driver string) string {
	c := fmt.Sprintf("echo %s > %s/%s/driver_override; ", driver, Devices, d.Address)
	if d.Driver != "" {
		c += fmt.Sprintf("echo %s > %s/%s/unbind; ", d.Address, Drivers, d.Driver)
	}
	return c + fmt.Sprintf("echo %s > %s/%s/bind", d.Address, Drivers, driver)
}

const denylistRemedy = "echo options vfio-pci disable_denylist=1 > /etc/modprobe.d/vfio-pci.conf; modprobe -r vfio-pci; modprobe vfio-pci"

// Denylisted tells whether vfio-pci, as it is loaded, refuses this device id of Intel's. The kernel does not show its
// list: certain is false for ids that newer kernels (6.10) list and older ones do not.
func Denylisted(root *hostfs.Root, id string) (denied, certain bool) {
	if value, err := root.ReadAttr("/sys/module/vfio_pci/parameters/disable_denylist"); err != nil || value != "N" {
		return false, false
	}
	switch strings.TrimPrefix(id, "0x") {
	case "0435", "0443", "19e2", "19e3", "37c8", "37c9": // QAT before generation 4, PF and VF; Linux 5.9
		return true, true
	case "0b25", "0cfe": // DSA and IAA of the first generation; Linux 6.10
		return true, false
	}
	return false, false
}

// Bind gives a function to a driver: the writes that it takes, each once. d is what Look said just before, and Bindable has
// no objection. Nil means that the kernel took all of them.
func Bind(root *hostfs.Root, d Device, driver string) error {
	if err := override(root, d, driver); err != nil {
		return err
	}
	if d.Driver != "" {
		if err := write(root, Drivers+"/"+d.Driver+"/unbind", d.Address); err != nil {
			return fmt.Errorf("it cannot be unbound from %s: %w", d.Driver, err)
		}
	}
	if err := write(root, Drivers+"/"+driver+"/bind", d.Address); err != nil {
		o := &Obstacle{Reason: fmt.Sprintf("it cannot be bound to %s: %v", driver, err), Remedy: "dmesg | grep " + d.Address}
		if denied, _ := Denylisted(root, d.ID); denied {
			o.Remedy = denylistRemedy
		}
		return o
	}
	return nil
}

// override names the driver that the function shall have from now on. Without it a driver that does not list the
// function's id would refuse it, so nothing is unbound before it is set. Kernels before 3.16 have no such file.
func override(root *hostfs.Root, d Device, driver string) error {
	file := d.SysPath + "/driver_override"
	value, err := root.ReadAttr(file)
	if hostfs.Absent(err) || err == nil && value == driver {
		return nil
	}
	if err := write(root, file, driver); err != nil {
		o := &Obstacle{Reason: fmt.Sprintf("its driver_override cannot be set to %s: %v", driver, err)}
		if errors.Is(err, unix.EROFS) || errors.Is(err, fs.ErrPermission) {
			o.Remedy = "give this process a writable /sys, or on the host: " + Command(d, driver)
		}
		return o
	}
	return nil
}

// write is one write call, as sysfs wants it. An error is without the path as this process sees it.
func write(root *hostfs.Root, file, value string) error {
	f, err := root.Open(file, unix.O_WRONLY|unix.O_TRUNC|unix.O_NOCTTY)
	if err == nil {
		_, err = f.WriteString(value)
		err = errors.Join(err, f.Close())
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("%s: %w", file, p.Err)
	}
	return err
}

func orNone(driver string) string {
	if driver == "" {
		return "no driver"
	}
	return driver
}

// Binder binds functions and remembers what failed. It is safe for concurrent use; one function is bound by one caller at
// a time.
type Binder struct {
	root *hostfs.Root
	log  logrus.FieldLogger
	now  func() time.Time

	mu    sync.Mutex
	known map[string]attempt
}

// attempt is the last try with one function.
type attempt struct {
	driver string
	from   string // the driver that it had
	err    error  // nil: the kernel took it
	next   time.Time
	wait   time.Duration
}

// NewBinder makes a Binder for a host tree.
func NewBinder(root *hostfs.Root, log logrus.FieldLogger) *Binder {
	return &Binder{root: root, log: log, now: time.Now, known: map[string]attempt{}}
}

// Bind sees to it that a function gets a driver. from are the drivers that it may be taken from; a function without
// driver is taken as well. Nil means that the kernel took the writes, in this call or in an earlier one that it is too early
// to repeat: whether the nodes are there is the caller's next question. An error is why not, and when it comes from a
// failed write it is repeated without another write until the next try is due, or the function's driver is another one.
func (b *Binder) Bind(ctx context.Context, d Device, driver string, from ...string) error {
	if err := Bindable(b.root, d, driver, from...); err != nil {
		return err // looking costs nothing, so it is done at each scan
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	last, tried := b.known[d.Address]
	// A try that failed halfway, or because the kernel's driver came first, is worth another one at once.
	changed := last.err != nil && last.from != d.Driver
	if tried && last.driver == driver && !changed && b.now().Before(last.next) {
		return last.err
	}
	err := Bind(b.root, d, driver)
	wait := firstRetry
	if tried && last.driver == driver {
		wait = min(2*last.wait, mostRetry)
	}
	b.known[d.Address] = attempt{driver: driver, from: d.Driver, err: err, next: b.now().Add(wait), wait: wait}
	entry := b.log.WithFields(logrus.Fields{"device": d.Address, "from": orNone(d.Driver), "driver": driver})
	switch {
	case err == nil:
		entry.Info("function bound")
	case !tried || last.err == nil || last.err.Error() != err.Error():
		entry.WithError(err).WithField("again", wait.String()).Warn("function not bound")
	}
	return err
}

// Bound notes that a function has the driver. What was tried is forgotten after a while only, so that two who do not agree
// on its driver do not do it back and forth without a pause.
func (b *Binder) Bound(address string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if last, tried := b.known[address]; tried && b.now().After(last.next.Add(mostRetry)) {
		delete(b.known, address)
	}
}

// Keep forgets all functions but these.
func (b *Binder) Keep(addresses []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for address := range b.known {
		if !slices.Contains(addresses, address) {
			delete(b.known, address)
		}
	}
}
