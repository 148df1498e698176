package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// EnvPrefix begins the name of every environment twin.
const EnvPrefix = "INLAY_"

// envAnnotation keeps further variables of a flag, tried after its twin.
const envAnnotation = "inlay-env"

// EnvName is the environment twin of a flag: "host-root" → "INLAY_HOST_ROOT".
func EnvName(flag string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// AlsoEnv lets a flag be set by a further variable that others give, such as NODE_NAME of the downward API. Its own
// twin comes first.
func AlsoEnv(fs *pflag.FlagSet, flag string, variables ...string) error {
	return fs.SetAnnotation(flag, envAnnotation, variables)
}

// lookup reads a variable; os.LookupEnv outside of tests.
type lookup func(name string) (value string, ok bool)

// applyEnv sets the flags that the command line left alone from their variables.
func applyEnv(fs *pflag.FlagSet, env lookup) error {
	var first error
	fs.VisitAll(func(f *pflag.Flag) {
		if first != nil || f.Changed || f.Name == "help" || f.Name == "version" {
			return
		}
		for _, name := range append([]string{EnvName(f.Name)}, f.Annotations[envAnnotation]...) {
			value, ok := env(name)
			if !ok {
				continue
			}
			if err := fs.Set(f.Name, value); err != nil {
				first = usageError{fmt.Errorf("environment variable %s=%q: %w", name, value, cause(err))}
			}
			return
		}
	})
	return first
}

// cause takes pflag's own words off ("invalid argument … for --x flag"): they would blame a flag that nobody gave.
func cause(err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) && invalid.Unwrap() != nil {
		return invalid.Unwrap()
	}
	return err
}

// describeEnv ends each flag's help with its twin, so that --help teaches it.
func describeEnv(fs *pflag.FlagSet) {
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Name == "version" || strings.Contains(f.Usage, "[$") {
			return
		}
		names := append([]string{EnvName(f.Name)}, f.Annotations[envAnnotation]...)
		f.Usage += " [$" + strings.Join(names, ", $") + "]"
	})
}
