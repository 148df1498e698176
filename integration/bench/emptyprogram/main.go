// Command emptyprogram does nothing: the baseline for what a process costs.
package main

func main() {}
