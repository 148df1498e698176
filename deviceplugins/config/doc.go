// Package config is what a user can set of the device families: from the configuration file, with overrides for single
// nodes, and from flags and their environment twins, which beat it.
//
//	version: v1
//	families: [auto]
//	gpu:
//	  sharedDevNum: 10
//	nodes:
//	- names: ["gpu-big-*"]
//	  gpu:
//	    sharedDevNum: 1
//
// A file is read strictly: a field that nobody knows, a field that is there twice or one of another type is an error that
// names it, and so is a value that its family refuses, for this node or for any other that the file names. It is all or
// nothing: of a file with a mistake nothing is taken.
package config
