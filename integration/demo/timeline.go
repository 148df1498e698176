package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// timeline is what the demo tells its reader, and what it counts.
type timeline struct {
	began  time.Time
	passed int
	failed []string
}

func (t *timeline) heading(format string, args ...any) {
	fmt.Printf("\n%s\n", fmt.Sprintf(format, args...))
}

// row prints when, who and what; long texts go on below.
func (t *timeline) row(mark, who, format string, args ...any) {
	const indent, width = 33, 86
	first := fmt.Sprintf("%s %6.2f s  %-20s ", mark, time.Since(t.began).Seconds(), who)
	for i, line := range wrap(fmt.Sprintf(format, args...), width) {
		if i == 0 {
			fmt.Println(first + line)
			continue
		}
		fmt.Println(strings.Repeat(" ", indent) + line)
	}
}

// tell is a step that the reader should know of.
func (t *timeline) tell(who, format string, args ...any) { t.row(" ", who, format, args...) }

// check is a promise: kept or not.
func (t *timeline) check(ok bool, who, format string, args ...any) {
	if ok {
		t.passed++
		t.row("✓", who, format, args...)
		return
	}
	text := fmt.Sprintf(format, args...)
	t.failed = append(t.failed, text)
	t.row("✗", who, "NOT AS PROMISED: %s", text)
}

// end prints the sum.
func (t *timeline) end() error {
	fmt.Println()
	if len(t.failed) == 0 {
		fmt.Printf("All %d promises were kept in %.1f s.\n", t.passed, time.Since(t.began).Seconds())
		return nil
	}
	fmt.Printf("%d promises were kept, %d were not:\n", t.passed, len(t.failed))
	for _, f := range t.failed {
		fmt.Println("  -", f)
	}
	return fmt.Errorf("%d promises were not kept", len(t.failed))
}

func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// short makes an id readable in a table.
func short(id string) string {
	if len(id) <= 8 {
		return id
	}
	return id[:8] + "…"
}

func say(format string, args ...any) { fmt.Fprintf(os.Stdout, format+"\n", args...) }
