// Package cdi keeps the CDI files of device families: one file a device, as the runtimes' CDI library reads it.
//
// A file is replaced by rename within its folder, only if its content is another, and belongs to the kind that it names:
// nobody reads half a file, a runtime that watches the folder hears of true changes only, and one family never takes away
// another's. File names, the folder and the mode 0644 are those of Intel's device plugins.
package cdi
