// Package mappings holds all mappings of a cluster as one table a namespace, ready to be read by every request at once.
//
// The tables come from an API server, through a follow.Handler for each kind, or from files. The two kinds are told
// apart and in their own time: what is told of one never changes what is known of the other. A table never changes; a
// change of a mapping puts a new one in its namespace's place, and a namespace without mappings has none.
//
// A watch tells of a mapping some milliseconds after it is stored, and a pod may be quicker. A Finder asks for exactly the
// mapping that such a pod lacks; what it finds is for that pod alone, and the tables stay what the watch has told.
//
// No object of the API is kept. What many mappings share (ids, and the resources made of them) is kept once, so that
// 10,000 mappings cost a few MiB.
package mappings
