package main

import (
	"context"

	"github.com/sirupsen/logrus"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/inlay-project/inlay/deviceplugins/fpga"
	"github.com/inlay-project/inlay/deviceplugins/mirror"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/journal"
)

// cards is the FPGA family with what this process does around it: it counts, it reads what the hooks did (they touch
// the run folder, which the family watches, so that every scan is the time to look), and it begins to follow the Node
// and the cards' mappings when there is a first card, so that a node without any costs the API server nothing.
type cards struct {
	*fpga.Family
	reader  *journal.Reader
	log     logrus.FieldLogger
	metrics *metrics
	// first is called in the scan that finds the first card, before anything is offered; nil afterwards.
	first func(ctx context.Context)
	// policy is told of the cards.
	policy *mirror.Mirror
}

// Scan implements plugin.Family.
func (c *cards) Scan(ctx context.Context) (plugin.Inventory, []plugin.Skipped, error) {
	if c.first != nil && c.Present() {
		c.first(ctx)
		c.first = nil
	}
	entries, err := c.reader.Next()
	if err != nil {
		c.log.WithError(err).Warn("what the hooks did cannot be read")
	}
	for _, e := range entries {
		c.tell(e)
	}
	inv, skipped, err := c.Family.Scan(ctx)
	if err == nil {
		c.policy.See(c.Interfaces())
	}
	return inv, skipped, err
}

// Allocate implements plugin.Allocator.
func (c *cards) Allocate(ctx context.Context, resource string, devices []plugin.Device) (*v1beta1.ContainerAllocateResponse, error) {
	answer, err := c.Family.Allocate(ctx, resource, devices)
	if err == nil && len(answer.Devices) > 0 {
		c.metrics.counts.Injection("allocate")
	}
	return answer, err
}

// PreStart implements plugin.PreStarter.
func (c *cards) PreStart(ctx context.Context, resource string, ids []string) error {
	err := c.Family.PreStart(ctx, resource, ids)
	c.metrics.counts.PreStart(resource, err)
	return err
}

// tell logs and counts one port that a hook looked after.
func (c *cards) tell(e journal.Entry) {
	l := c.log.WithFields(logrus.Fields{
		"container": e.Container, "device": e.Device, "mode": e.Mode, "waited": e.Waited.String(),
	})
	if e.Function != "" {
		l = l.WithField("function", e.Function)
	}
	switch {
	case e.Error != "":
		l.WithField("error", e.Error).Error("port not readied")
		c.metrics.programs.ProgramFailed(e.Reason)
	case e.Programmed:
		l.WithField("duration", e.PR.String()).Info("port programmed")
		c.metrics.programs.Programmed(e.PR)
	case e.Mode == string(fpga.ModeRegion):
		l.Info("port held the function already")
		c.metrics.programs.WarmHit()
	default:
		l.Info("port checked")
	}
}
