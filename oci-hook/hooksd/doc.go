// Package hooksd puts the stand-alone hook into a hooks.d folder so that CRI-O or Podman never sees half of it.
//
// A hooks.d folder holds JSON files (schema 1.0.0) that name a program to be run at a stage of a container's life.
// It is the fallback for runtimes without NRI and without CDI (docs/architecture.md). Three rules of the runtimes shape what is
// done here:
//
//   - A JSON whose program does not exist is dropped without a word, and a program that appears later is not noticed
//     (CRI-O reloads only when the folder itself changes). So the program is written first, then the JSON; they are
//     taken away in the reverse order.
//   - A JSON that is half written is dropped as well, or stops CRI-O at its next start. So both files are written
//     aside, synced and renamed; whoever is killed in the middle leaves the old file or the new one.
//   - Annotation patterns match keys and values of the container, and on CRI-O those of its pod too: a pod can change
//     a value, but it cannot take a key away. So the hook is asked for by the presence of com.intel.fpga.mode with any
//     value, and decides by itself what to do.
//
// Only the standard library is used: this is part of inlay-hook.
package hooksd
