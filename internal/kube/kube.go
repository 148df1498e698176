// Package kube says how a daemon reaches the API server: by a kubeconfig file, or as a pod of the cluster.
package kube

import (
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/inlay-project/inlay/internal/buildinfo"
)

// Config is the way to the API server that a kubeconfig file tells; without a file, the way that the cluster tells its
// pods. Outside of a cluster and without a file there is none: rest.ErrNotInCluster. The program's name and its version
// are how the API server's log names the caller.
func Config(kubeconfig, program string) (*rest.Config, error) {
	config, err := load(kubeconfig)
	if err != nil {
		return nil, err
	}
	config.UserAgent = program + "/" + buildinfo.Get().Version
	return config, nil
}

func load(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		return rest.InClusterConfig()
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", kubeconfig, err)
	}
	return config, nil
}
