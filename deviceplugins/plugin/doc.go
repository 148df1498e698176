// Package plugin offers devices to the kubelet: a family says what is there, and the engine keeps the kubelet informed,
// over restarts of the kubelet, of its own sockets' lives, of streams that break and hardware that comes and goes. It
// knows no kind of device and can be used for any.
//
// # A family
//
// A Family is a name and a Scan: a function of the host tree that gives an Inventory, which is full resource names with
// their devices. That is all; the example of this package is a whole device plugin in 30 lines. A family that can do more
// has one of these methods as well, and the engine finds them (all but the last, which is for a command such as doctor):
//
//	Watch     what a change looks like: uevent subsystems, folders, values without events,
//	          and Queries: files whose reading asks the hardware, once an audit             (Watcher)
//	Allocate  the answer for a container; without it the devices' Grants are put together    (Allocator)
//	Prefer    which devices go well together                                                 (Preferrer)
//	PreStart  a last word before each start of a container                                   (PreStarter)
//	Diagnose  why there is nothing, or less than there is, and what would help               (Diagnoser)
//
// Rules for a Scan: no such hardware is an empty inventory and no error. What is there but cannot be read is Skipped, with
// its path and the reason. What was offered and is sick stays in the inventory with Health Unhealthy and a Reason. An
// error is for a scan that knows nothing: the last good inventory stays in force. Panics count as errors. Ids are stable,
// because the kubelet keeps them over restarts.
//
// # What the engine promises
//
//   - Every resource has its own socket, server, registration and goroutines. None waits for another, or for a stream.
//   - A list is sent at once on every new stream, sorted by id, and again when it has changed. Streams share nothing but
//     the newest snapshot: a stream that is slow, dead or left over from a kubelet that is gone takes nothing from another.
//   - Registration is tried for ever (5 ms to 3 s apart, with jitter), and again whenever kubelet.sock is another file, our
//     socket was removed, the stream has ended, or none was begun. It is never given up and nothing exits.
//   - Allocate hands out only devices that are known and healthy; the error names the id and the reason.
//   - Everything ends with Run's context: sockets removed, goroutines waited for.
//
// # What the kubelet does, and what follows
//
// The kubelet takes the end of any stream of a resource for the end of its newest endpoint: up to 1.36 it hangs up on that,
// later it marks it as stopped, and then refuses allocations until the resource is registered again. So the engine never
// ends a stream because there is a newer one; it puts a removed socket back under the same server; and it registers again
// after a stream of the present kubelet has ended, and after another process that served the resource has gone.
//
// A resource that loses its last device gets an empty list, so the node shows 0 at once. It is served like that for
// Config.Linger, in case the device is back (a card that is reset), then its server stops and the socket goes; the
// kubelet forgets the resource five minutes later.
//
// Of two processes with one resource the newest registration wins. The newer one finds a live socket, says so in the log
// and puts its own in the place by rename. The older one stands by: its streams stay open, and silent. When either goes,
// the other one serves.
//
// A socket is called <domain>-<type>.sock. The kubelet dials it by its full path, of which a unix address holds 107
// bytes; in a folder where that is too long, the name is cut and made unique by a hash.
//
// # When it looks
//
// Events say "look again", never what has changed. A uevent of a family's subsystems, a change in one of its folders or a
// Kick means a scan at once; what comes while it runs is one more scan after it. All folders of a process are watched by
// one inotify instance. What changes without an event (Watch.Values) is read every 5 s, in a way that costs little more
// than one wake-up of one thread; everything is scanned in full every 5 minutes, a family without devices that names no
// values every minute. Five minutes after the start, or after the last device has gone, nothing is read every 5 s any
// more.
//
// # Diagnosis
//
// Status says what is missing in words, for a readiness check. An Observer hears of scans, lists, registrations and
// allocations, for metrics. Each allocation and each registration is one line in the log.
package plugin
