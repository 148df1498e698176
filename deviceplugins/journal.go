package main

import (
	"context"

	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/deviceplugins/fpga"
	"github.com/inlay-project/inlay/deviceplugins/plugin"
	"github.com/inlay-project/inlay/internal/journal"
)

// journaled is the FPGA family that also reads what the hooks did: they touch the run folder, which the family watches,
// so that every scan is the time to look.
type journaled struct {
	*fpga.Family
	reader  *journal.Reader
	log     logrus.FieldLogger
	metrics *metrics
}

func newJournaled(f *fpga.Family, runDir string, log logrus.FieldLogger, m *metrics) *journaled {
	return &journaled{Family: f, reader: journal.NewReader(runDir), log: log, metrics: m}
}

// Scan implements plugin.Family.
func (j *journaled) Scan(ctx context.Context) (plugin.Inventory, []plugin.Skipped, error) {
	entries, err := j.reader.Next()
	if err != nil {
		j.log.WithError(err).Warn("what the hooks did cannot be read")
	}
	for _, e := range entries {
		j.tell(e)
	}
	inv, skipped, err := j.Family.Scan(ctx)
	j.metrics.leftOut(j.Name(), len(skipped))
	return inv, skipped, err
}

// tell logs and counts one port that a hook looked after.
func (j *journaled) tell(e journal.Entry) {
	l := j.log.WithFields(logrus.Fields{
		"container": e.Container, "device": e.Device, "mode": e.Mode, "waited": e.Waited.String(),
	})
	if e.Function != "" {
		l = l.WithField("function", e.Function)
	}
	switch {
	case e.Error != "":
		l.WithField("error", e.Error).Error("port not readied")
		j.metrics.programs.ProgramFailed(e.Reason)
	case e.Programmed:
		l.WithField("duration", e.PR.String()).Info("port programmed")
		j.metrics.programs.Programmed(e.PR)
	case e.Mode == "region":
		l.Info("port held the function already")
		j.metrics.programs.WarmHit()
	default:
		l.Info("port checked")
	}
}
