// Package ocitest makes small OCI images out of files, without a registry, a daemon or
// root, so that the same input always gives the same digest.
package ocitest
