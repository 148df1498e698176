package cluster

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func TestConnectionsGoToReadyEndpointsOfThePortOnly(t *testing.T) {
	yes, no := true, false
	port := func(name string, number int32) discoveryv1.EndpointPort {
		return discoveryv1.EndpointPort{Name: &name, Port: &number}
	}
	endpoint := func(address string, ready *bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: ready}}
	}
	slices := []*discoveryv1.EndpointSlice{
		{
			Ports:     []discoveryv1.EndpointPort{port("webhook", 9443), port("metrics", 9772)},
			Endpoints: []discoveryv1.Endpoint{endpoint("10.88.0.2", &yes), endpoint("10.88.0.3", &no), endpoint("10.88.0.4", nil)},
		},
		{Ports: []discoveryv1.EndpointPort{port("other", 1)}, Endpoints: []discoveryv1.Endpoint{endpoint("10.88.0.5", &yes)}},
	}
	got := ready(slices, corev1.ServicePort{Name: "webhook", Port: 443})
	if diff := cmp.Diff([]string{"10.88.0.2:9443", "10.88.0.4:9443"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := ready(slices, corev1.ServicePort{Name: "none"}); len(got) > 0 {
		t.Errorf("a port that no endpoint has: %v", got)
	}
}
