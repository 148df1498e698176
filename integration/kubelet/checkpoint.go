package kubelet

import (
	"encoding/json"
	"fmt"
	"os"

	"google.golang.org/protobuf/proto"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// checkpoint is a kubelet's file device-plugins/kubelet_internal_checkpoint, as far as
// it is needed to answer from it. Its checksum is the kubelet's own affair.
type checkpoint struct {
	Data struct {
		PodDeviceEntries []struct {
			PodUID, ContainerName, ResourceName string
			DeviceIDs                           map[string][]string // by NUMA node, "-1" where there is none
			AllocResp                           []byte              // a marshalled ContainerAllocateResponse
		}
	}
}

// Restore makes the answers of a kubelet's checkpoint this kubelet's own: what plugins
// were asked in the past, and are not asked again. pods tells which pod has a uid; entries
// of other pods are passed over, as a kubelet does with pods that are gone.
func (k *Kubelet) Restore(file string, pods map[string]Owner) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var c checkpoint
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	answers := map[Owner]Answer{}
	for _, e := range c.Data.PodDeviceEntries {
		owner, ok := pods[e.PodUID]
		if !ok || owner.Container != e.ContainerName {
			continue
		}
		var response pluginapi.ContainerAllocateResponse
		if err := proto.Unmarshal(e.AllocResp, &response); err != nil {
			return fmt.Errorf("%s: answer of %s for %s: %w", file, e.ResourceName, e.PodUID, err)
		}
		a, ok := answers[owner]
		if !ok {
			a = Answer{Devices: map[string][]string{}, Annotations: map[string]string{}}
		}
		for _, ids := range e.DeviceIDs {
			a.Devices[e.ResourceName] = append(a.Devices[e.ResourceName], ids...)
		}
		a.merge(&response)
		answers[owner] = a
	}
	for owner, a := range answers {
		k.Remember(owner, a)
	}
	return nil
}
