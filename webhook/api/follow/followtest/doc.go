// Package followtest is an API server that knows the mappings and pods and nothing else: real HTTP with real watches, in
// the test's hand.
//
// It answers what packages follow and status ask for: lists with pages, watches with and without initial events,
// bookmarks, single objects and their status, and new events. It can be an older server (no WatchList, no field
// selector), forget its history, cut streams, stand still, be away, and refuse single statuses.
package followtest
