package plugin

import (
	"context"

	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/internal/folderwatch"
	"github.com/inlay-project/inlay/internal/uevent"
)

// Family knows one kind of device. Its optional abilities are the interfaces Watcher, Allocator, Preferrer and PreStarter,
// of which the engine uses those that the value has, and Diagnoser, which is for a command that explains a node to a person.
type Family interface {
	// Name is short and for people: "fpga".
	Name() string
	// Scan looks at the host and says what is there: a pure function of the host tree as far as the kubelet can see.
	// No device of its kind is an empty inventory and no error. A device that cannot be read goes into skipped.
	// An error without an inventory leaves the last good one in force; an error with one reports and publishes both.
	// Scan is never called twice at a time; a panic in it is an error.
	Scan(ctx context.Context) (Inventory, []Skipped, error)
}

// Watcher is a Family that knows what a change of its devices looks like. Without it the engine scans at every audit.
type Watcher interface {
	// Watch is asked after every scan, so it may follow what was found. It must be quick.
	Watch() Watch
}

// Watch says when to look again.
type Watch struct {
	// Subsystems of the kernel's uevents, such as "fpga_region". Any event of theirs means a scan.
	Subsystems []string
	// Ignore passes over events of these subsystems by what they are about, such as devices that come and go with every
	// open of a node. Nil passes over none. It is called for each event and must be quick.
	Ignore func(Event) bool
	// Folders in which names come and go (or, with Content, files are written): /dev, the CDI folder, the run folder.
	// Paths are as this process sees them. Not below /sys: the kernel tells nothing there.
	Folders []Folder
	// Values are files whose content, and folders whose list of names, can change without any event: afu_id, a health
	// attribute, the class folder. Paths are as this process sees them. They are read at every audit (5 s) by the
	// cheapest way there is, and a difference to the audit before means a scan. An unreadable one is a value too: its
	// errno. Reading one must not block: the read holds up one of the process' few Go processors.
	// A family that gives neither Values nor Queries is scanned in full at every audit while it has devices.
	Values []string
	// Queries are files whose reading is a question to the hardware, which does not take two of them in a moment (the
	// heartbeat of a QAT card). An audit reads each once, as it does Values, and nobody else of the engine does. What it
	// says goes to Answered.
	Queries []string
	// Answered gets what a Query said, or that it could not be read, and tells whether to scan for that. It must be
	// quick; content is only valid during the call. Nil where there are no Queries.
	Answered func(path string, content []byte, err error) (scan bool)
}

// Folder is one watched folder.
type Folder = folderwatch.Folder

// Event is one message of the kernel about a device.
type Event = uevent.Event

// ErrEventOverflow says that the kernel dropped events because nobody read in time: everything is scanned.
var ErrEventOverflow = uevent.ErrOverflow

// Allocator is a Family that answers Allocate itself. The default is Merge.
type Allocator interface {
	// Allocate answers for one container. The devices are the ones asked for, in the order asked, all known and healthy.
	Allocate(ctx context.Context, resource string, devices []Device) (*v1beta1.ContainerAllocateResponse, error)
}

// Preferrer is a Family that has an opinion on which devices go well together.
type Preferrer interface {
	// Prefer picks size ids: all of must, the rest from available (which holds must too, in the kubelet's order, which is
	// random). An error or an answer that is neither of the right size nor from available is logged, and the first free
	// devices are taken.
	Prefer(resource string, available []Device, must []string, size int) ([]string, error)
}

// PreStarter is a Family that can say no just before each start of a container. The kubelet waits 30 s and retries.
type PreStarter interface {
	PreStart(ctx context.Context, resource string, ids []string) error
}
