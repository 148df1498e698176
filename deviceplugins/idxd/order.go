package idxd

import "slices"

// natural keeps the names that parse reads and sorts them by their numbers: wq0.2 before wq0.10.
func natural(names []string, parse func(string) ([2]uint64, bool)) []string {
	type named struct {
		numbers [2]uint64
		name    string
	}
	var kept []named
	for _, name := range names {
		if numbers, ok := parse(name); ok {
			kept = append(kept, named{numbers, name})
		}
	}
	slices.SortFunc(kept, func(a, b named) int { return slices.Compare(a.numbers[:], b.numbers[:]) })
	sorted := make([]string, len(kept))
	for i, k := range kept {
		sorted[i] = k.name
	}
	return sorted
}
