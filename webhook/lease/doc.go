// Package lease has one of several replicas lead at a time: the one that a Lease object of the API server names.
//
// Its rules are those of client-go's leaderelection, and the two understand each other's Leases. That package brings the
// types of all of Kubernetes with it, though, which every collection of garbage then has to look at.
//
// Who leads writes the Lease every Retry, and stops leading when its last write that succeeded was sent Deadline ago. The
// others read the Lease and take it when they have seen no change in it for as long as it says, which is Duration. So
// there is never more than one. Each measures by its own clock how much time goes by; what time it is for somebody else
// is not asked, and what the Lease says of it is for people to read.
//
// Every write carries the resourceVersion of what was read, so that of two that take it at once one meets a conflict.
// An answer that was lost leaves nothing open: the Lease is read again.
//
// Who is told to end gives the Lease back when its work has ended, and another has it at its next look. Who is killed is
// waited for.
package lease
