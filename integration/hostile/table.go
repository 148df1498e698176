package hostile

import "slices"

// Cases are all pods of the table.
func Cases() []Case {
	return slices.Concat(names(), quantities(), variables(), outside(), containers(), placement())
}
