package cli

import (
	"fmt"
	"strings"

	"github.com/sirupsen/logrus"
)

// logLevels are those that say something here; "fatal" and "panic" would hide errors.
var logLevels = [...]logrus.Level{
	logrus.ErrorLevel, logrus.WarnLevel, logrus.InfoLevel, logrus.DebugLevel, logrus.TraceLevel,
}

// timeFormat has milliseconds: a reader compares our lines with the kubelet's and the runtime's.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

func (s *Service) setUpLog() error {
	level, err := parseLevel(s.logLevel)
	if err != nil {
		return err
	}
	s.Log.SetLevel(level)
	switch s.logFormat {
	case "text":
		s.Log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true, TimestampFormat: timeFormat})
	case "json":
		s.Log.SetFormatter(&logrus.JSONFormatter{TimestampFormat: timeFormat})
	default:
		return fmt.Errorf("--log-format %q is none of text, json", s.logFormat)
	}
	return nil
}

func parseLevel(s string) (logrus.Level, error) {
	names := make([]string, 0, len(logLevels))
	for _, level := range logLevels {
		name := level.String()
		if name == "warning" {
			name = "warn"
		}
		if s == name || s == level.String() {
			return level, nil
		}
		names = append(names, name)
	}
	return 0, fmt.Errorf("--log-level %q is none of %s", s, strings.Join(names, ", "))
}
