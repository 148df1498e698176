// Package unixsock listens on and dials unix sockets by path, also where the path is longer than a socket address holds,
// and puts a socket in place by rename, so that nobody ever sees the name without a socket behind it.
//
// A socket address holds 107 bytes of path. A longer one is reached through an open folder: /proc/self/fd/N/name.
// The kubelet does not do that: what the kubelet is to dial must fit by itself (MaxPath).
package unixsock
