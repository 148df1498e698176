package cli

import (
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Service holds what every daemon is told in the same way, whether it runs on a node or not. The fields are final once
// the command's RunE is called.
type Service struct {
	HTTP string // address of metrics and health; "" = off
	Log  *logrus.Logger

	logLevel, logFormat string
	flags               *pflag.FlagSet // those of the root command; once a command runs, all that it has
}

// Settings are flags that Main completes before a command runs: a *Service or a *Common.
type Settings interface {
	resolve(fs *pflag.FlagSet) error
	close()
}

// AddService gives cmd and its sub-commands the flags of a daemon that knows no host, and returns where their values
// will be. http is the default of --http. cmd may be a sub-command that alone is a daemon.
func AddService(cmd *cobra.Command, http string) *Service {
	s := &Service{}
	s.addFlags(cmd, http)
	return s
}

func (s *Service) addFlags(cmd *cobra.Command, http string) {
	s.Log = logrus.New()
	s.flags = cmd.PersistentFlags()
	s.flags.StringVar(&s.HTTP, "http", http, "address of /metrics, /healthz and /readyz; empty = off")
	s.flags.StringVar(&s.logLevel, "log-level", "info", "error, warn, info, debug or trace")
	s.flags.StringVar(&s.logFormat, "log-format", "text", "text or json")
}

// Fields gives every flag with its effective value, for the line that a daemon logs when it starts.
func (s *Service) Fields() logrus.Fields {
	fields := logrus.Fields{}
	s.flags.VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" && f.Name != "version" {
			fields[f.Name] = f.Value.String()
		}
	})
	return fields
}

// resolve sets up the log. fs are the flags of the command that runs.
func (s *Service) resolve(fs *pflag.FlagSet) error {
	s.flags = fs
	if err := s.setUpLog(); err != nil {
		return usageError{err}
	}
	return nil
}

func (s *Service) close() {}
