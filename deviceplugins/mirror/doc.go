// Package mirror keeps the node's policy file in step with the API server: with the mappings whose interface id the node's
// cards have, and no others; and on a node with SGX with the limits of enclave memory of the pods that are bound to it.
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
// # Enclave memory
//
// The pods of the node are followed from when SGX is first seen, for the life of the process. Until then the file limits
// no enclave, unless the file of an earlier process did: that part of it goes into the new one as it is. From then on the
// file has a part of pods, to which the same promises hold: within 50 ms of a change, and the last good one while the API
// server is away. Until the pods are in step it is the one of before, and where there was none it is empty: inlay-nri
// refuses the enclaves of a pod that it does not find, and the kubelet tries again. "Synced" is no younger than it.
//
// Mappings do not wait for pods: without the right to read pods the cards of a node with SGX work all the same.
//
// A pod has its place in the file, under the UID that the runtime knows it by, as soon as it is bound to the node: the
// kubelet hears of it at the same time, and has to make its sandbox and get its images before it creates a container. It
// goes when the pod is deleted or has ended for good.
//
// # Nodes without cards
//
// A node on which no card was ever seen asks the API server for no mappings. If there is no file at all, an empty one is
// written, once: it grants as little as a missing one, and inlay-nri, which cannot tell a missing file from one that was
// lost, has nothing to complain of. A file that is there is left alone, because the cards' driver may only be late.
package mirror
