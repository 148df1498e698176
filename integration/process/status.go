package process

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// RSSAnon is a process' anonymous memory in bytes.
func RSSAnon(pid int) (int64, error) {
	kib, err := StatusNumber(fmt.Sprintf("/proc/%d/status", pid), "RssAnon:")
	return kib << 10, err
}

// StatusNumber reads one number of a status file of /proc, without its unit.
func StatusNumber(file, key string) (int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key); ok {
			return strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		}
	}
	return 0, fmt.Errorf("%s: no %s", file, key)
}
