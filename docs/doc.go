// Package docs is the pages for users, and what reads one of them: diagnose.md. It promises
// that a message on that page is a row which a machine can hold against what the programs
// say, so that the page and the programs cannot drift apart: this package's tests find for
// each message the code that says it and the test that expects it, and tests that meet a
// refusal of a real runtime ask Explanations for it.
package docs
