package chaos

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/inlay-project/inlay/integration/cluster"
)

// component is a program of the cluster, nil if it is one in a container.
func (s *Scene) component(name string) *cluster.Component {
	if name == programRuntime {
		return s.c.Runtime
	}
	for _, c := range s.c.Components() {
		if c.Name() == name {
			return c
		}
	}
	return nil
}

// interrupts says whether a container that starts just now may be started again without it.
func interrupts(program string) bool { return program == programKubelet || program == programRuntime }

func (s *Scene) interrupt(program string) {
	if interrupts(program) {
		s.mu.Lock()
		begin(&s.interrupted, program)
		s.mu.Unlock()
	}
}

func (s *Scene) resume(program string) {
	s.mu.Lock()
	end(s.interrupted, program)
	s.mu.Unlock()
}

func (s *Scene) kill(ctx context.Context, name string) error {
	if c := s.component(name); c != nil {
		s.interrupt(name)
		return c.Kill(ctx)
	}
	if name == programHook {
		s.hunt(func(p *prey) { p.kill() })
		return nil
	}
	all, err := s.c.Programs(name)
	for _, p := range all {
		err = errors.Join(err, p.Kill())
	}
	return err
}

// start lets a program start while the steps go on.
func (s *Scene) start(name string) error {
	c := s.component(name)
	if c == nil {
		return errors.New("the kubelet starts it")
	}
	s.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := c.Start(ctx); err != nil { // the settle tries again
			s.say("start %s: %v", name, err)
			return
		}
		s.resume(name)
	})
	return nil
}

func (s *Scene) freeze(name string) error {
	var thaw func()
	if c := s.component(name); c != nil {
		s.interrupt(name)
		if err := c.Stop(); err != nil {
			return err
		}
		thaw = func() { _ = c.Cont(); s.resume(name) } // it may have been killed meanwhile
	} else if name == programHook {
		s.hunt(func(p *prey) { p.freeze() })
		return nil
	} else {
		all, err := s.c.Programs(name)
		if err != nil {
			return err
		}
		for _, p := range all {
			err = errors.Join(err, p.Stop())
		}
		if err != nil {
			return err
		}
		thaw = func() {
			for _, p := range all {
				_ = p.Cont()
			}
		}
	}
	s.onThaw(name, thaw)
	return nil
}

// onThaw keeps how a frozen program goes on.
func (s *Scene) onThaw(name string, thaw func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before := s.frozen[name]; before != nil {
		both := thaw
		thaw = func() { before(); both() }
	}
	s.frozen[name] = thaw
}

func (s *Scene) thaw(name string) {
	s.mu.Lock()
	thaw := s.frozen[name]
	delete(s.frozen, name)
	s.mu.Unlock()
	if thaw != nil {
		thaw()
	}
}

// nriSocket takes the runtime's socket away. Nobody but the runtime can make another, and it does so when it starts.
func (s *Scene) nriSocket(what string) error {
	socket := s.c.HostPath("run/nri/nri.sock")
	if what == "gone" {
		return os.Remove(socket)
	}
	if _, err := os.Stat(socket); err == nil {
		return nil
	}
	s.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		s.interrupt(programRuntime)
		if err := s.c.Runtime.Restart(ctx); err != nil {
			s.say("restart the runtime: %v", err)
			return
		}
		s.resume(programRuntime)
	})
	return nil
}
