package main

import (
	"time"

	"github.com/inlay-project/inlay/internal/observe"
	"github.com/inlay-project/inlay/nri-plugin/engine"
)

// metrics counts what the engine tells.
type metrics struct{ nri *observe.NRIMetrics }

func newMetrics(r *observe.Registry) *metrics { return &metrics{nri: observe.NewNRIMetrics(r)} }

// ObserveRequest implements engine.Observer.
func (m *metrics) ObserveRequest(event string, result engine.Result, took time.Duration) {
	switch result {
	case engine.ResultPlain, engine.ResultOK:
		m.nri.Request(event, took, nil)
	case engine.ResultAdjusted:
		m.nri.Request(event, took, nil)
		m.nri.Injection("nri")
	default:
		m.nri.Refused(event, took, string(result))
	}
}

// ObserveReconnect implements engine.Observer.
func (m *metrics) ObserveReconnect() { m.nri.Reconnect() }
