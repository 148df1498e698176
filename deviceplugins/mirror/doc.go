// Package mirror keeps the node's policy file in step with the mappings of the API server: those whose interface id the
// node's cards have, and no others.
//
// The file (internal/policy) is what a grant rests on while the API server is away, so it is never less than whole. It is
// written by rename, mode 0600, and synced to disk; first when everything that is followed is in step, then within 50 ms
// of each change. Until then, and while the API server is away, the file that is there stays as it is. A mapping that leads
// nowhere is left out. That two mappings share a name does not matter here: ids are granted, names are only for asking.
//
// The file's time "synced" is refreshed every 5 minutes while all of what it holds is in step. While the API server is away
// it stands still: its age is what inlay-nri's --policy-max-age measures.
//
// Interface ids once seen are followed for the life of the process: a card that is being reset is gone for a moment, and
// its mappings must not go with it. So are those that the file of an earlier process has mappings of: after a restart a
// card may be late or sick, and the file that grants its functions is not replaced before they are in step too. An id whose
// card was taken out is forgotten when a process starts and the file has no mapping of it any more; until then it costs two
// watches. A card that appears later adds to what is followed; until that is in step the file has none of its mappings,
// and goes on with the others.
//
// A node on which no card was ever seen asks the API server nothing. If there is no file at all, an empty one is
// written, once: it grants as little as a missing one, and inlay-nri, which cannot tell a missing file from one that was
// lost, has nothing to complain of. A file that is there is left alone, because the cards' driver may only be late.
package mirror
