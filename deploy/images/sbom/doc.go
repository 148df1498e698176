// Package sbom writes what an image is made of as an SPDX 2.3 document: the image, the programs in it, and the modules
// that are linked into each program.
package sbom
