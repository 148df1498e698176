package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/inlay-project/inlay/fpga/emulator"
	"github.com/inlay-project/inlay/integration"
	"github.com/inlay-project/inlay/integration/cluster"
)

// functions are in the store and, where Inlay is installed, granted to the namespace default by these names.
var functions = [...]struct{ name, id string }{{"nlb0", integration.NLB0}, {"nlb3", integration.NLB3}}

// keep makes the cluster and keeps it until ctx ends.
func keep(ctx context.Context, c choice, out io.Writer) (err error) {
	unlock, err := lock(c)
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.MkdirAll(c.in("tools"), 0o755); err != nil {
		return err
	}
	fmt.Fprintln(out, "building what is not there yet: Kubernetes, etcd, containerd or CRI-O, runc (once, some 10 minutes on 2 cores); Inlay's images")
	began := time.Now()
	tools, err := cluster.BuildTools(ctx, c.in("tools"), cluster.ToolOptions{Images: c.images, Log: out})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "built in %.0f s\nstarting the cluster\n", time.Since(began).Seconds())
	k, err := cluster.New(ctx, cluster.Options{Tools: tools, Runtime: integration.RuntimeName(c.runtime), Cards: c.cards})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.Close(), tidy(c)) }()
	if err := furnish(ctx, k, c, tools); err != nil {
		return fmt.Errorf("%w\n%s", err, k.KeepLogs("make-cluster"))
	}
	fmt.Fprint(out, k.Phases.String())
	if err := os.WriteFile(c.in(readyFile), []byte(usage(k, c)), 0o644); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// lock says by which process the cluster is kept.
func lock(c choice) (unlock func(), err error) {
	f, err := os.OpenFile(c.in(pidFile), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is another's: %w", c.in(pidFile), err), f.Close())
	}
	if err := errors.Join(f.Truncate(0), write(f, fmt.Sprintln(os.Getpid()))); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}

func write(to io.Writer, text string) error {
	_, err := io.WriteString(to, text)
	return err
}

// tidy takes away what is of no use without the cluster; tools and log stay.
func tidy(c choice) error {
	var errs []error
	for _, name := range []string{readyFile, kubeconfig, podFile} {
		if err := os.Remove(c.in(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// furnish stores bitstreams, installs Inlay, grants functions and writes the files for people.
func furnish(ctx context.Context, k *cluster.Cluster, c choice, tools *cluster.Tools) error {
	for _, f := range functions {
		if err := k.PutBitstream(emulator.DefaultInterface, f.id, f.id); err != nil {
			return err
		}
	}
	if err := writeFiles(k, c, tools); err != nil {
		return err
	}
	if !c.installs() {
		return k.ImportImages(ctx, tools.Images)
	}
	if err := k.Install(ctx, cluster.Install{Overlay: c.overlay}); err != nil {
		return err
	}
	return k.Admin().Try(ctx, mappings(c), "apply", "-f", "-").Err
}

// mappings are of the node's mode.
func mappings(c choice) string {
	mode := "region"
	if c.overlay == "af" {
		mode = "af"
	}
	var s strings.Builder
	for _, f := range functions {
		s.WriteString(cluster.Function("default", f.name, emulator.DefaultInterface, f.id, mode))
	}
	return s.String()
}

// sample is a pod for people; in mode af the emulated cards hold the first function alone.
func sample(c choice) string {
	f := functions[1]
	if c.overlay == "af" {
		f = functions[0]
	}
	return fmt.Sprintf(`# Its log has a line for each port that it sees: the port, and the id of the function that answers there.
apiVersion: v1
kind: Pod
metadata:
  name: %[1]s
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: inlay.test/workload:1
      command: [/bin/sh, -c]
      args:
        - |
          for port in /dev/dfl-port.*; do
            echo "$port $(afu-read "$port")"
          done
          exec sleep 2147483647
      resources:
        limits:
          fpga.intel.com/%[1]s: 1
`, f.name)
}

// writeFiles writes the sample, a kubeconfig that depends on no other file, and a link to kubectl.
func writeFiles(k *cluster.Cluster, c choice, tools *cluster.Tools) error {
	config := k.RESTConfig()
	ca, err := os.ReadFile(config.CAFile)
	if err != nil {
		return err
	}
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: inlay
contexts: [{name: inlay, context: {cluster: inlay, user: inlay}}]
clusters: [{name: inlay, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: inlay, user: {token: %q}}]
`, config.Host, base64.StdEncoding.EncodeToString(ca), config.BearerToken)
	link := c.in("kubectl")
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.Join(
		os.Symlink(tools.Path("kubectl"), link),
		os.WriteFile(c.in(kubeconfig), []byte(text), 0o600),
		os.WriteFile(c.in(podFile), []byte(sample(c)), 0o644),
	)
}

// usage says how to use the cluster.
func usage(k *cluster.Cluster, c choice) string {
	var s strings.Builder
	f := functions[1]
	if c.overlay == "af" {
		f = functions[0]
	}
	state := "without Inlay; its images are on the node"
	if c.installs() {
		state = "with Inlay installed from deploy/overlays/" + c.overlay
	}
	fmt.Fprintf(&s, "A Kubernetes cluster of one node (%s, cards: %s) is running, %s.\n\n", c.runtime, strings.Join(c.cards, " "), state)
	fmt.Fprintf(&s, "  export KUBECONFIG=%s PATH=%s:$PATH\n", c.in(kubeconfig), c.state)
	s.WriteString("  kubectl get nodes -L fpga.intel.com/mode\n")
	if c.installs() {
		fmt.Fprintf(&s, "  kubectl apply -f %s\n", c.in(podFile))
		fmt.Fprintf(&s, "  kubectl wait --for=jsonpath='{.status.phase}'=Running --timeout=60s pod/%s\n", f.name)
		fmt.Fprintf(&s, "  kubectl logs %s        # /dev/dfl-port.0 %s\n", f.name, f.id)
		fmt.Fprintf(&s, "  kubectl delete pod %s\n", f.name)
	}
	fmt.Fprintf(&s, "\nor, without these variables: kubectl --kubeconfig %s …\n", c.in(kubeconfig))
	fmt.Fprintf(&s, "The node's file system is in %s, its bitstreams in %s, logs in %s/*.log.\n", k.HostRoot, k.Bitstreams(), k.Dir)
	fmt.Fprintf(&s, "Faults of the cards: JSON in %s (bin/fpga-emulator --help says which).\n", k.FaultsFile())
	stop := "make cluster-stop"
	if !c.usual {
		stop += fmt.Sprintf(" CLUSTERFLAGS=%q", "-state "+c.state)
	}
	fmt.Fprintf(&s, "No image can be pulled; inlay.test/workload:1 has a shell and afu-read.\n\n%s ends it, and leaves nothing.\n", stop)
	return s.String()
}
