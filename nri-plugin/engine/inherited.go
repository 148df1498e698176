package engine

import (
	"fmt"
	"net"
	"strconv"

	"github.com/containerd/nri/pkg/api"
	nrinet "github.com/containerd/nri/pkg/net"
)

// Inherited returns the connection that a runtime gives to a plugin which it starts from its plugin folder (a file
// descriptor named in NRI_PLUGIN_SOCKET), or nil if the process was started by somebody else. Call it once.
func Inherited(getenv func(string) string) (net.Conn, error) {
	env := getenv(api.PluginSocketEnvVar)
	if env == "" {
		return nil, nil
	}
	fd, err := strconv.Atoi(env)
	if err != nil || fd < 0 {
		return nil, fmt.Errorf("%s=%q: not a file descriptor", api.PluginSocketEnvVar, env)
	}
	conn, err := nrinet.NewFdConn(fd)
	if err != nil {
		return nil, fmt.Errorf("%s=%q: %w", api.PluginSocketEnvVar, env, err)
	}
	return conn, nil
}
