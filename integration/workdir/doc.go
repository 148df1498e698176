// Package workdir gives a node or a cluster a temporary folder of its own. The folder is
// locked by its owner, so that a later test finds and removes those that a killed process
// left behind. The logs of a test that failed are kept in a place that outlives it.
//
// Where unix sockets are in the folder its prefix has to be short, like /tmp/iit-, whatever
// TMPDIR says: their addresses end after 107 bytes.
package workdir
