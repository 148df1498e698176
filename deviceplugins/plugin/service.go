package plugin

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// service answers the kubelet for one resource. It holds no state of its own: every call reads the newest snapshot.
type service struct {
	v1beta1.UnimplementedDevicePluginServer
	resource string
	family   Family
	feed     *feed
	streams  *streams
	log      logrus.FieldLogger
	observer Observer
}

// options says which of the optional calls the family answers.
func (s *service) options() *v1beta1.DevicePluginOptions {
	_, prefers := s.family.(Preferrer)
	_, preStarts := s.family.(PreStarter)
	return &v1beta1.DevicePluginOptions{PreStartRequired: preStarts, GetPreferredAllocationAvailable: prefers}
}

func (s *service) GetDevicePluginOptions(context.Context, *v1beta1.Empty) (*v1beta1.DevicePluginOptions, error) {
	return s.options(), nil
}

// ListAndWatch sends the newest list at once and again whenever it has changed, until the stream's context ends.
func (s *service) ListAndWatch(_ *v1beta1.Empty, stream grpc.ServerStreamingServer[v1beta1.ListAndWatchResponse]) error {
	ctx, began := stream.Context(), time.Now()
	signal, unsubscribe := s.feed.subscribe()
	defer unsubscribe()
	ctx, left := s.streams.enter(ctx)
	defer left()
	var sent *v1beta1.ListAndWatchResponse
	for {
		if snap, fresh := s.feed.next(sent); fresh {
			if err := stream.Send(snap.list); err != nil {
				return err
			}
			since := snap.since
			if sent == nil && since.Before(began) {
				since = began // the first list answers the stream, not an event
			}
			sent = snap.list
			s.observer.ListSent(s.resource, time.Since(since))
			continue
		}
		select {
		case <-signal:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
}

// Allocate answers for each container by itself; one refusal refuses the call, which the kubelet makes a container at a
// time.
func (s *service) Allocate(ctx context.Context, req *v1beta1.AllocateRequest) (*v1beta1.AllocateResponse, error) {
	began := time.Now()
	out := &v1beta1.AllocateResponse{}
	for _, container := range req.GetContainerRequests() {
		answer, err := s.allocate(ctx, container.GetDevicesIds())
		took := time.Since(began)
		s.observer.Allocated(s.resource, resultOf(err), took)
		entry := s.log.WithFields(logrus.Fields{
			"resource": s.resource, "devices": strings.Join(container.GetDevicesIds(), ","), "duration": took.String(),
		})
		if err != nil {
			entry.WithError(err).Warn("allocation refused")
			return nil, err
		}
		entry.Info("allocated")
		out.ContainerResponses = append(out.ContainerResponses, answer)
	}
	return out, nil
}

func (s *service) allocate(ctx context.Context, ids []string) (answer *v1beta1.ContainerAllocateResponse, err error) {
	snap := s.feed.load()
	devices := make([]Device, len(ids))
	for i, id := range ids {
		d, ok := snap.find(id)
		switch {
		case !ok:
			return nil, status.Errorf(codes.InvalidArgument, "%s: device %q is not there (any more)", s.resource, id)
		case d.Health != Healthy:
			return nil, status.Errorf(codes.FailedPrecondition, "%s: device %s is unhealthy: %s", s.resource, id, orUnknown(d.Reason))
		case slices.Contains(ids[:i], id):
			return nil, status.Errorf(codes.InvalidArgument, "%s: device %s is asked for twice", s.resource, id)
		}
		devices[i] = d
	}
	allocator, ok := s.family.(Allocator)
	if !ok {
		return Merge(devices), nil
	}
	defer s.recovered("Allocate", &err)
	answer, err = allocator.Allocate(ctx, s.resource, devices)
	if err == nil && answer == nil {
		err = errors.New("the family gave no answer")
	}
	return answer, refusal(s.resource, ids, err)
}

// GetPreferredAllocation never fails for an opinion: without a usable one it answers what the kubelet would do by itself.
// More devices than there are to choose from, or to be included than are wanted, or to be included and not available is a
// mistake of the caller's: the kubelet names what a container has among the available ones.
func (s *service) GetPreferredAllocation(_ context.Context, req *v1beta1.PreferredAllocationRequest) (*v1beta1.PreferredAllocationResponse, error) {
	preferrer, ok := s.family.(Preferrer)
	if !ok {
		return nil, status.Errorf(codes.Unimplemented, "%s: no preference among devices", s.resource)
	}
	out := &v1beta1.PreferredAllocationResponse{}
	for _, container := range req.GetContainerRequests() {
		ids, err := s.prefer(preferrer, container)
		if err != nil {
			return nil, err
		}
		out.ContainerResponses = append(out.ContainerResponses, &v1beta1.ContainerPreferredAllocationResponse{DeviceIDs: ids})
	}
	return out, nil
}

func (s *service) prefer(preferrer Preferrer, req *v1beta1.ContainerPreferredAllocationRequest) ([]string, error) {
	must, size := req.GetMustIncludeDeviceIDs(), int(req.GetAllocationSize())
	names := slices.Clone(req.GetAvailableDeviceIDs())
	slices.Sort(names)
	names = slices.Compact(names)
	for i, id := range must {
		if _, ok := slices.BinarySearch(names, id); !ok {
			return nil, status.Errorf(codes.InvalidArgument, "%s: device %q must be included and is not among the available ones", s.resource, id)
		}
		if slices.Contains(must[:i], id) {
			return nil, status.Errorf(codes.InvalidArgument, "%s: device %q must be included twice", s.resource, id)
		}
	}
	switch {
	case size > len(names):
		return nil, status.Errorf(codes.InvalidArgument, "%s: %d devices wanted of %d that are available", s.resource, size, len(names))
	case size < len(must):
		return nil, status.Errorf(codes.InvalidArgument, "%s: %d devices wanted, and %d must be included", s.resource, size, len(must))
	}
	snap := s.feed.load()
	available, twice := make([]Device, 0, len(names)), make(map[string]bool, len(names))
	for _, id := range req.GetAvailableDeviceIDs() {
		if d, ok := snap.find(id); ok && !twice[id] {
			available, twice[id] = append(available, d), true
		}
	}
	ids, err := func() (ids []string, err error) {
		defer s.recovered("Prefer", &err)
		return preferrer.Prefer(s.resource, available, must, size)
	}()
	if err == nil {
		err = checkPreference(ids, names, must, size)
	}
	if err == nil {
		return ids, nil
	}
	s.log.WithError(err).WithField("resource", s.resource).Warn("no usable preference among devices, the first free ones are taken")
	ids = slices.Clone(must)
	for _, d := range available {
		if len(ids) < size && !slices.Contains(ids, d.ID) {
			ids = append(ids, d.ID)
		}
	}
	return ids, nil
}

// checkPreference holds a preference against the API's rules; names is sorted.
func checkPreference(ids, names, must []string, size int) error {
	if len(ids) != size {
		return fmt.Errorf("%d devices preferred where %d are wanted", len(ids), size)
	}
	for i, id := range ids {
		if _, ok := slices.BinarySearch(names, id); !ok || slices.Contains(ids[:i], id) {
			return fmt.Errorf("device %s is preferred but not available, or twice", id)
		}
	}
	for _, id := range must {
		if !slices.Contains(ids, id) {
			return fmt.Errorf("device %s has to be included and is not", id)
		}
	}
	return nil
}

func (s *service) PreStartContainer(ctx context.Context, req *v1beta1.PreStartContainerRequest) (_ *v1beta1.PreStartContainerResponse, err error) {
	preStarter, ok := s.family.(PreStarter)
	if !ok {
		return nil, status.Errorf(codes.Unimplemented, "%s: nothing to be asked before a start", s.resource)
	}
	defer s.recovered("PreStart", &err)
	if err := preStarter.PreStart(ctx, s.resource, req.GetDevicesIds()); err != nil {
		s.log.WithError(err).WithFields(logrus.Fields{
			"resource": s.resource, "devices": strings.Join(req.GetDevicesIds(), ","),
		}).Warn("container start refused")
		return nil, refusal(s.resource, req.GetDevicesIds(), err)
	}
	return &v1beta1.PreStartContainerResponse{}, nil
}

// recovered turns a panic of a family into an error of the call.
func (s *service) recovered(call string, err *error) {
	if p := recover(); p != nil {
		s.log.WithField("resource", s.resource).Errorf("%s panicked: %v", call, p)
		s.log.Debugf("%s", debug.Stack())
		*err = status.Errorf(codes.Internal, "%s: %s failed: %v", s.resource, call, p)
	}
}

// refusal gives an error of a family the identity of what was refused, and a gRPC code if it brings none.
func refusal(resource string, ids []string, err error) error {
	if err == nil {
		return nil
	}
	code := codes.FailedPrecondition
	message := err.Error()
	if st, ok := status.FromError(err); ok {
		code, message = st.Code(), st.Message()
	}
	return status.Errorf(code, "%s: device %s: %s", resource, strings.Join(ids, ","), message)
}

func resultOf(err error) string {
	switch {
	case err == nil:
		return ResultOK
	case status.Code(err) == codes.InvalidArgument:
		return ResultInvalid
	case strings.Contains(status.Convert(err).Message(), " is unhealthy: "):
		return ResultUnusable
	}
	return ResultError
}

func orUnknown(reason string) string {
	if reason == "" {
		return "no reason known"
	}
	return reason
}
