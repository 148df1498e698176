// Package healthtest plays the two services that tell of GPUs' health, over a real socket and with the protobuf library's
// own encoder: Levelzero (unary) and xpumd's DeviceInfo (a stream). A test says what they know, and stops, hangs and
// restarts them.
package healthtest

import (
	"context"
	"net"
	"os"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// Card is what the Level-Zero service says of one card.
type Card struct {
	MemoryBad, BusBad, SoCBad bool
	Global, GPU, Memory       float64
	HealthFault, HeatFault    Fault
}

// Fault is the service's Error; it is sent where one of its fields is set.
type Fault struct {
	Code        uint32
	Description string
}

// Device is what xpumd says of one card.
type Device struct {
	Address string
	Health  []Status
}

// Status is one aspect of a device: 0 unknown, 1 ok, 2 warning, 3 critical, 4 failed.
type Status struct {
	Name            string
	Severity        uint32
	Reason, Message string
}

// Server is both services on one socket. Its methods are safe for concurrent use.
type Server struct {
	Socket         string
	t              testing.TB
	levelzero, xpu protoreflect.FileDescriptor

	mu      sync.Mutex
	grpc    *grpc.Server
	cards   map[string]Card
	devices []Device
	index   []uint32
	fault   Fault
	refuse  bool
	hang    chan struct{} // not nil: nothing is answered until it is closed
	changed chan struct{} // closed and replaced when devices change
	calls   int
	streams int
}

// New makes the services; Start has them listen.
func New(t testing.TB) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "health")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Socket: dir + "/server.sock", t: t, cards: map[string]Card{}, changed: make(chan struct{})}
	for pkg, file := range map[string]*protoreflect.FileDescriptor{"": &s.levelzero, "deviceinfo": &s.xpu} {
		if *file, err = Schema(pkg); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		s.Hang(false)
		s.Stop()
		os.RemoveAll(dir)
	})
	return s
}

// Start has the services listen.
func (s *Server) Start() {
	s.t.Helper()
	os.Remove(s.Socket)
	ln, err := net.Listen("unix", s.Socket)
	if err != nil {
		s.t.Fatal(err)
	}
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{ServiceName: "Levelzero", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{
		s.unary("GetDeviceHealth", "DeviceId", s.health),
		s.unary("GetDeviceTemperature", "DeviceId", s.heat),
		s.unary("GetIntelIndices", "Empty", s.indices),
	}}, s)
	server.RegisterService(&grpc.ServiceDesc{ServiceName: "deviceinfo.DeviceInfo", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{
		{StreamName: "WatchDeviceHealth", ServerStreams: true, Handler: s.watch},
	}}, s)
	s.mu.Lock()
	s.grpc = server
	s.mu.Unlock()
	go server.Serve(ln)
}

// Stop ends the services as a crash does: calls and streams break.
func (s *Server) Stop() {
	s.mu.Lock()
	server := s.grpc
	s.grpc = nil
	s.mu.Unlock()
	if server != nil {
		server.Stop()
	}
}

// Set says what is true of a card at the Level-Zero service.
func (s *Server) Set(address string, c Card) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cards[address] = c
}

// Forget makes a card unknown to the Level-Zero service.
func (s *Server) Forget(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.cards, address)
}

// SetIndices says which GPUs the Level-Zero service counts.
func (s *Server) SetIndices(fault Fault, list ...uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index, s.fault = list, fault
}

// Tell sends these devices to all streams of xpumd, and to those that come.
func (s *Server) Tell(devices ...Device) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.devices = devices
	close(s.changed)
	s.changed = make(chan struct{})
}

// Hang makes calls and streams wait for an answer, or lets them have it.
func (s *Server) Hang(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hang != nil {
		close(s.hang)
		s.hang = nil
	}
	if on {
		s.hang = make(chan struct{})
	}
}

// Refuse makes every call an error.
func (s *Server) Refuse(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = on
}

// Counts gives how many calls and how many streams have begun.
func (s *Server) Counts() (calls, streams int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls, s.streams
}

// admit waits while the services hang.
func (s *Server) admit(ctx context.Context) error {
	s.mu.Lock()
	hang, refuse := s.hang, s.refuse
	s.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if refuse {
		return status.Error(codes.Internal, "refused by the script")
	}
	return nil
}

func (s *Server) unary(name, request string, answer func(in *dynamicpb.Message) *dynamicpb.Message) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in := NewMessage(s.levelzero, request)
		if err := dec(in); err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.calls++
		s.mu.Unlock()
		if err := s.admit(ctx); err != nil {
			return nil, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return answer(in), nil
	}}
}

func addError(m *dynamicpb.Message, f Fault) {
	if f != (Fault{}) {
		e := sub(m, "error")
		set(e, "description", f.Description)
		set(e, "errorcode", f.Code)
	}
}

// card gives what is said of the card that a request names; an unknown one is an error together with "all well".
func (s *Server) card(in *dynamicpb.Message) (Card, bool) {
	c, ok := s.cards[in.Get(in.Descriptor().Fields().ByName("bdfAddress")).String()]
	return c, ok
}

func (s *Server) health(in *dynamicpb.Message) *dynamicpb.Message {
	c, ok := s.card(in)
	if !ok {
		c.HealthFault = Fault{Code: 0x7ffffffe, Description: "unknown (0x7ffffffe)"}
	}
	m := NewMessage(s.levelzero, "DeviceHealth")
	set(m, "memory_ok", !c.MemoryBad)
	set(m, "bus_ok", !c.BusBad)
	set(m, "soc_ok", !c.SoCBad)
	addError(m, c.HealthFault)
	return m
}

func (s *Server) heat(in *dynamicpb.Message) *dynamicpb.Message {
	c, _ := s.card(in)
	m := NewMessage(s.levelzero, "DeviceTemperature")
	set(m, "global", c.Global)
	set(m, "gpu", c.GPU)
	set(m, "memory", c.Memory)
	addError(m, c.HeatFault)
	return m
}

func (s *Server) indices(*dynamicpb.Message) *dynamicpb.Message {
	m := NewMessage(s.levelzero, "DeviceIndices")
	list := m.Mutable(m.Descriptor().Fields().ByName("indices")).List()
	for _, i := range s.index {
		list.Append(protoreflect.ValueOfUint32(i))
	}
	addError(m, s.fault)
	return m
}

// watch is one stream: what is known at once, and again at each change.
func (s *Server) watch(_ any, stream grpc.ServerStream) error {
	if err := stream.RecvMsg(NewMessage(s.xpu, "WatchDeviceHealthRequest")); err != nil {
		return err
	}
	s.mu.Lock()
	s.streams++
	s.mu.Unlock()
	for {
		if err := s.admit(stream.Context()); err != nil {
			return err
		}
		s.mu.Lock()
		m, changed := Response(s.xpu, s.devices), s.changed
		s.mu.Unlock()
		if err := stream.SendMsg(m); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return nil
		}
	}
}

// Response is xpumd's message for these devices.
func Response(xpu protoreflect.FileDescriptor, devices []Device) *dynamicpb.Message {
	m := NewMessage(xpu, "DeviceHealthResponse")
	for _, d := range devices {
		e := sub(m, "devices")
		info := sub(e, "info")
		set(info, "uuid", "00000000-0000-0000-0000-000000000000")
		set(info, "model", "Test GPU")
		pci := sub(info, "pci")
		set(pci, "bdf", d.Address)
		set(pci, "device_id", "0x0bda")
		set(sub(info, "firmwares"), "name", "GFX")
		set(sub(info, "memory"), "size", uint64(48<<30))
		for _, h := range d.Health {
			st := sub(e, "health")
			set(st, "name", h.Name)
			set(st, "severity", h.Severity)
			set(st, "reason", h.Reason)
			set(st, "message", h.Message)
		}
	}
	return m
}
