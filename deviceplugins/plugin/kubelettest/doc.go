// Package kubelettest is a scripted kubelet: the device plugin side of one, over real sockets and real gRPC, for tests
// and demonstrations of device plugins without a cluster.
//
// It does what the kubelet's device manager does (checked against the sources of 1.36):
//
//   - Start wipes all sockets of the device plugin folder, then serves Registration on kubelet.sock.
//   - Register dials the plugin's endpoint before it answers, asks for its options, and then holds a ListAndWatch stream.
//   - The newest registration of a resource wins.
//   - When any stream of a resource ends, the resource's newest connection is closed, its devices count as unhealthy and
//     its endpoint as stopped until it is registered again. That hits the wrong one when an old stream ends late: a
//     plugin has to live with it. (Later versions leave the newest connection open and do the rest: MarksNewest.)
//
// And it does on request what kubelets do in bad moments: Kill, Stop, Restart, Abandon (be replaced without hanging up),
// refuse registrations, read streams slowly or never.
package kubelettest
