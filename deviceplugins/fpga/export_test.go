package fpga

import "time"

// Admission is how long an answer of Allocate counts before the kubelet lists it.
const Admission = admission

// WithProbeLimit gives a configuration by which a socket in the kubelet's folder may take that long to answer.
func (c Config) WithProbeLimit(d time.Duration) Config {
	c.probeLimit = d
	return c
}
