// Command euid is a workload: it prints its effective user id. In an image it is the
// program with the set-user-id bit, by which critest sees whether no_new_privs is set.
package main

import (
	"fmt"
	"os"
)

func main() { fmt.Printf("Effective uid: %d\n", os.Geteuid()) }
