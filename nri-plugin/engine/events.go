package engine

import (
	"strconv"
	"strings"

	"github.com/containerd/nri/pkg/api"
)

// Events known to a runtime, by its NRI version. A subscription with a bit that the runtime does not know fails the
// registration. Source: Event_LAST of api.proto in NRI 0.2 to 0.9 (RemoveContainer is the last event) and since 0.10
// (pod updates and validation added).
const (
	eventsBefore010 = api.EventMask(1<<api.Event_REMOVE_CONTAINER - 1)
	eventsSince010  = api.EventMask(1<<api.Event_VALIDATE_CONTAINER_ADJUSTMENT - 1)
)

// knownEvents is what a runtime with that NRI version surely knows. A version that is unknown (CRI-O 1.36 sends none
// and the stub cannot infer it) counts as an old one.
func knownEvents(nriVersion string) api.EventMask {
	major, rest, _ := strings.Cut(strings.TrimPrefix(nriVersion, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	x, xerr := strconv.Atoi(major)
	y, yerr := strconv.Atoi(minor)
	if xerr != nil || yerr != nil || (x == 0 && y < 10) {
		return eventsBefore010
	}
	return eventsSince010
}

// subscription is what we ask for: container creation and nothing else, for each event costs the node a call.
func subscription(nriVersion string) api.EventMask {
	var want api.EventMask
	want.Set(api.Event_CREATE_CONTAINER)
	return want & knownEvents(nriVersion)
}
