package main

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxLine is what a pod event has room for (1024 bytes), less what runtime and kubelet write round our line.
const maxLine = 800

// oneLine makes one line of a message, whatever a file or a pod put into it. Of a text that is too long the middle is
// left out: it begins with the device and ends with the cause.
func oneLine(s string) string {
	const mark = " … "
	if len(s) > maxLine {
		head, tail := maxLine/2, len(s)-(maxLine/2-len(mark))
		for !utf8.RuneStart(s[head]) && head > 0 {
			head--
		}
		for tail < len(s) && !utf8.RuneStart(s[tail]) {
			tail++
		}
		s = s[:head] + mark + s[tail:]
	}
	s = strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return strings.TrimSpace(s)
}
