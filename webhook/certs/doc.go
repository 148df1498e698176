// Package certs keeps a webhook's serving certificate such that no request ever meets one that its client does not
// trust: issued and rotated by an authority of its own, or read from files that somebody else keeps.
//
// # The own authority
//
// All replicas run the same rules on one Secret; there is no leader. The Secret holds the issuing CA with its key, the
// leaf with its key, and the bundle: every CA that a client has to trust at present. Every write carries the
// resourceVersion of what it was decided on, so of two replicas that act at once one meets a conflict, reads again and
// finds the work done. The bundle is kept in every entry of the two webhook configurations.
//
// A new leaf of the same CA is served at once. A new CA comes in stages, each one write of the Secret:
//
//  1. the new CA joins the bundle and becomes the issuing one; the leaf stays;
//  2. when all configurations have carried the new CA for Overlap, without a change in between, the new CA issues a leaf;
//  3. another Overlap later the old CA leaves the bundle.
//
// The stage can be read off the Secret itself, so a process may be killed between any two steps. The waiting is not
// stored: a replica counts from when it saw a fact itself, on its own clock, and a restart begins to count anew, which
// is late but never early. Overlap covers what lags behind: an API server that still works with the configuration of a
// moment ago, and a replica that cannot read the Secret. The latter reports itself not ready before the others go on.
//
// Each step reads the configurations first, then the Secret, then acts; watches only say when to look. A configuration is
// changed only at the resourceVersion that was read before the Secret was: a replica that was stopped in between
// cannot put an old bundle back.
//
// What the Secret holds is judged each time. What cannot be used is explained in the log and replaced in the way that
// breaks least: what this process serves is written back if clients still trust it; else the CA that is there issues a
// leaf; and only if nothing is left everything is made anew.
//
// # Files
//
// Files follows a certificate and its key as cert-manager or a Secret volume keeps them. Whoever makes them keeps the
// caBundle too.
package certs
