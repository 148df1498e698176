package plugin

import "time"

// Results of an allocation, as Observer.Allocated gets them.
const (
	ResultOK       = "ok"
	ResultInvalid  = "invalid"  // the kubelet asked for an id that is not there
	ResultUnusable = "unusable" // a device is unhealthy
	ResultError    = "error"    // the family refused
)

// Observer is told what the engine does, for metrics. Calls come from many goroutines and must not block.
// Embed NopObserver to implement a part of it.
type Observer interface {
	// Scanned: a look at the host has ended.
	Scanned(family string, took time.Duration, err error)
	// LeftOut: how many devices the last look had to leave out.
	LeftOut(family string, n int)
	// Triggered: something said "look again"; source is uevent, folder, value, audit, kick or start.
	Triggered(family, source string)
	// Published: what a resource offers now; both zero when it is gone.
	Published(family, resource string, healthy, unhealthy int)
	// HealthChanged: a device of the resource went from one health to the other.
	HealthChanged(resource, id, from, to string)
	// Registered: an attempt to register has ended. gap is how long there has been a kubelet that did not know the
	// resource; zero for a failed attempt.
	Registered(resource string, gap time.Duration, err error)
	// ListSent: a list went to the kubelet; lag is the time since the event that led to it.
	ListSent(resource string, lag time.Duration)
	// Allocated: an Allocate has been answered.
	Allocated(resource, result string, took time.Duration)
}

// NopObserver observes nothing.
type NopObserver struct{}

func (NopObserver) Scanned(string, time.Duration, error)         {}
func (NopObserver) LeftOut(string, int)                          {}
func (NopObserver) Triggered(string, string)                     {}
func (NopObserver) Published(string, string, int, int)           {}
func (NopObserver) HealthChanged(string, string, string, string) {}
func (NopObserver) Registered(string, time.Duration, error)      {}
func (NopObserver) ListSent(string, time.Duration)               {}
func (NopObserver) Allocated(string, string, time.Duration)      {}
