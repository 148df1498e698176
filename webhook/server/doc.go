// Package server answers the API server's questions about pods, over HTTPS: every request that it reads gets an
// AdmissionReview that allows, changes or denies, whatever else goes wrong, and no client can make it use more memory
// than its budget.
//
// POST /pods translates (the mutating webhook) and POST /pods/check only looks (the validating one). Review is the same
// without a server; `inlay-webhook mutate` calls it.
//
// What is refused, and how:
//
//   - No review can be read: HTTP 405 (not POST), 415 (not application/json), 411 (no length), 413 (above MaxBody, or
//     with so many values that parsing it would cost too much), 400 (no JSON), 503 (busy for too long). The API server
//     takes all of these as a failure of the webhook, and with failurePolicy Fail refuses the pod.
//   - A review that is wrong in itself, or whose pod cannot be read: allowed=false with code 400.
//   - A pod that may not have what it asks for: allowed=false with code 403. If that is for want of mappings alone, a
//     Finder is asked for them before: a pod may be here before the news of its mapping.
//   - The mappings are not known yet: allowed=false with code 503.
//   - A mistake in this program: allowed=false with code 500, and the log has the stack.
//
// Usual reviews never wait for huge ones: bodies above 64 KiB and parses above 1 MiB have budgets of their own.
package server
