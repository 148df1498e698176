// Package observe lets an operator see what a daemon does: /metrics for Prometheus, /healthz and /readyz for probes.
//
// Metric names are those of docs/operate.md, all with the prefix inlay_. Each daemon makes one Registry and takes from
// it the metrics of its trade (DevicePluginMetrics, NRIMetrics, WebhookMetrics), plain methods that never fail and may
// be called from any goroutine. There is no global registry.
//
// /healthz answers 200 while the process serves. /readyz answers 200, or 503 with a body that lists what is missing,
// one line each: "nri: not connected to /var/run/nri/nri.sock". A Check gives these lines and must be quick: it looks
// at what its owner knows already. A check with a name (Also) can be left out: /readyz?exclude=hardware.
//
// The server binds when it is made, so that a taken port is an error at start and not a line in a log.
package observe
