// Package folderwatch tells of changes in folders through one inotify instance for a whole process, and keeps watching
// when folders go and come back.
//
// A node has 128 inotify instances a user, shared by everything on it; one instance for a watched file is how device
// plugins have run nodes out of them. So a process makes one Watcher and everybody in it adds folders.
//
//   - Only folders are watched, never single files, and never below /sys, where the kernel does not deliver.
//   - A folder that is missing is waited for at its nearest existing parent; one that vanishes is looked for again.
//     When it is there (again) the subscriber is called with an empty name: anything may have changed.
//   - The same empty name is what a subscriber gets when the kernel's queue ran over.
//   - The kernel is asked for names that come and go; writes and touches only where Folder.Content says so: below /dev
//     every write to /dev/null would be an event.
//
// The library of the field, fsnotify, always asks the kernel for writes and attribute changes too; in /dev that wakes the
// process for every line that anything on the node sends to /dev/null. That is why this package talks to inotify itself.
package folderwatch
