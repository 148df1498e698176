// Package nristatus tells the processes of one node whether inlay-nri is connected to the container runtime.
//
// inlay-nri serves its Status on a unix socket in the run folder (nri.sock, mode 0600): every connection gets one line
// of JSON and is closed, nothing is read from it. inlay-deviceplugin asks it in PreStartContainer (design.md 4), a
// person can with `nc -U`. It is a courtesy that makes a refusal early and readable; nothing is granted because of it.
//
// Standard library only.
package nristatus
