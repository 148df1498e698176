package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/internal/record"
)

// books are what the device plugin has answered for each pod, with the allocation record in it, as the kubelet keeps it
// in its checkpoint, which can be read while it is dead. An answer never changes as long as its pod lives; the kubelet
// forgets it some time after that, and these books never.
type books struct {
	file string
	pods map[string]entry
}

// entry is what one pod was given.
type entry struct {
	devices []string // that the kubelet chose
	record  []string // that the plugin wrote down
	err     error
}

func newBooks(file string) *books { return &books{file: file, pods: map[string]entry{}} }

// read takes in what is new.
func (b *books) read() error {
	data, err := os.ReadFile(b.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // before the first answer
	}
	if err != nil {
		return err
	}
	return b.add(data)
}

func (b *books) add(checkpoint []byte) error {
	var c struct {
		Data struct {
			PodDeviceEntries []struct {
				PodUID, ResourceName string
				DeviceIDs            map[string][]string // by NUMA node
				AllocResp            []byte              // a ContainerAllocateResponse
			}
		}
	}
	if err := json.Unmarshal(checkpoint, &c); err != nil {
		return fmt.Errorf("%s: %w", b.file, err)
	}
	fresh := map[string]entry{}
	for _, e := range c.Data.PodDeviceEntries {
		if _, known := b.pods[e.PodUID]; known || !strings.HasPrefix(e.ResourceName, vendor) {
			continue
		}
		is := fresh[e.PodUID]
		for _, ids := range e.DeviceIDs {
			is.devices = append(is.devices, ids...)
		}
		var answer pluginapi.ContainerAllocateResponse
		if err := proto.Unmarshal(e.AllocResp, &answer); err != nil {
			return fmt.Errorf("%s: answer for pod %s: %w", b.file, e.PodUID, err)
		}
		allocations, err := record.Parse(answer.GetAnnotations())
		is.err = errors.Join(is.err, err)
		for _, a := range allocations {
			for _, d := range a.Devices {
				is.record = append(is.record, d.ID)
			}
		}
		fresh[e.PodUID] = is
	}
	for uid, e := range fresh {
		slices.Sort(e.devices)
		slices.Sort(e.record)
		if e.err == nil && !slices.Equal(e.devices, e.record) {
			e.err = fmt.Errorf("the kubelet chose %q, the answer's record has %q", e.devices, e.record)
		}
		b.pods[uid] = e
	}
	return nil
}

var errNoAnswer = errors.New("the kubelet has no answer of the device plugin for it")

// record is the allocation record of a pod.
func (b *books) record(uid string) ([]string, error) {
	e, known := b.pods[uid]
	if !known {
		return nil, errNoAnswer
	}
	return e.record, e.err
}
