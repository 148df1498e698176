package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	kjson "sigs.k8s.io/json"

	"github.com/inlay-project/inlay/internal/cli"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
	"github.com/inlay-project/inlay/webhook/fpga"
	"github.com/inlay-project/inlay/webhook/mappings"
	"github.com/inlay-project/inlay/webhook/server"
)

const longExplain = `explain says in words what the webhook would do with each container of a pod, and why. POD is a file with a Pod, or
anything with a pod template in it (Deployment, StatefulSet, DaemonSet, Job, CronJob, …), in any number of documents;
- is standard input. It needs no cluster: the mappings come from files.

  inlay-webhook explain --mappings mappings.yaml -n team-a deployment.yaml
  kubectl get -n team-a deployment/worker -o yaml | inlay-webhook explain --mappings mappings.yaml -

Requests that a file leaves out are filled from the limits first, as the API server does.

A pod that would be denied is told of as any other, and the exit code is 0; with --exit-code it is 1, for a job that
checks files before they are applied.`

func explainCommand() *cobra.Command {
	f := &files{}
	exitCode := false
	cmd := &cobra.Command{
		Use:   "explain --mappings FILE [--mappings FILE]… POD…",
		Short: "says in words what would happen to a pod, and why",
		Long:  longExplain,
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cli.UsageError("which file has the pod? - is standard input")
			}
			return f.explain(args, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), exitCode)
		},
	}
	f.flags(cmd.Flags())
	f.namespaceFlag(cmd.Flags(), "namespace", "namespace of the pods and the mappings that name none")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 1 if a pod would be denied")
	return cmd
}

func (f *files) explain(paths []string, stdin io.Reader, stdout, stderr io.Writer, exitCode bool) error {
	tables, err := f.read(stderr)
	if err != nil {
		return err
	}
	e := &explainer{out: bufio.NewWriter(stdout), tables: tables, options: f.options, namespace: f.defaultNamespace, mappings: f.paths}
	for _, path := range paths {
		in, err := open(path, stdin)
		if err != nil {
			return err
		}
		err = e.file(path, in)
		in.Close()
		if err != nil {
			return errors.Join(e.out.Flush(), err)
		}
	}
	if err := e.out.Flush(); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	if e.pods == 0 {
		return fmt.Errorf("%s: there is no pod and no pod template", strings.Join(paths, ", "))
	}
	if exitCode && e.denied > 0 {
		return fmt.Errorf("of %d pods %d would be denied", e.pods, e.denied)
	}
	return nil
}

// explainer writes what would happen to the pods of some files.
type explainer struct {
	out       *bufio.Writer
	tables    server.Tables
	options   fpga.Options
	namespace string   // of pods that name none
	mappings  []string // files of them
	known     bool     // the mappings in this file count, because it is one of those
	pods      int
	denied    int // of them
}

// object is a document of a file.
type object = map[string]any

func (e *explainer) file(path string, in io.Reader) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	e.known = slices.Contains(e.mappings, path)
	for _, d := range mappings.Documents(text) {
		if err := e.document(d); err != nil {
			return fmt.Errorf("%s: %s: %w", path, d, err)
		}
	}
	return nil
}

func (e *explainer) document(d mappings.Document) error {
	values, err := d.Values()
	if err != nil {
		return err
	}
	for _, value := range values {
		o, err := parse(value)
		if err != nil {
			return err
		}
		if err := e.object(o); err != nil {
			return err
		}
	}
	return nil
}

// parse keeps numbers as they are written. A key that stands twice is an error: the API server's tools refuse it too,
// and it would be unclear which one counts.
func parse(value []byte) (object, error) {
	var strict any
	twice, err := kjson.UnmarshalStrict(value, &strict, kjson.DisallowDuplicateFields)
	if err := errors.Join(append(twice, err)...); err != nil {
		return nil, err
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	o, ok := v.(object)
	if !ok {
		return nil, errors.New("it is no Kubernetes object")
	}
	return o, nil
}

// object explains what pods an object makes.
func (e *explainer) object(o object) error {
	kind, _ := o["kind"].(string)
	if items, ok := o["items"].([]any); ok && strings.HasSuffix(kind, "List") {
		for i, item := range items {
			inner, ok := item.(object)
			if !ok {
				return fmt.Errorf("items[%d] is no Kubernetes object", i)
			}
			if err := e.object(inner); err != nil {
				return fmt.Errorf("items[%d]: %w", i, err)
			}
		}
		return nil
	}
	if kind == "" {
		return errors.New("it has no kind")
	}
	title := fpga.Show(kind) + " " + nameOf(o)
	if isMapping(o, kind) && !e.known {
		return fmt.Errorf("%s is a mapping, and does not count among the pods; give its file with --mappings too", title)
	}
	if kind == "Pod" {
		return e.pod(title, "", o, namespaceOf(o))
	}
	found := false
	err := templates(o, "", func(path string, template object) error {
		found = true
		// A template's own namespace does not count: its pods are where the object is.
		if metadata, ok := template["metadata"].(object); ok {
			delete(metadata, "namespace")
		}
		return e.pod(title, path, template, namespaceOf(o))
	})
	if err == nil && !found {
		fmt.Fprintf(e.out, "%s has no pod template\n\n", title)
	}
	return err
}

func isMapping(o object, kind string) bool {
	version, _ := o["apiVersion"].(string)
	kinds := v2.Kinds()
	return strings.HasPrefix(version, v2.GroupVersion.Group+"/") && slices.Contains(kinds[:], v2.Kind(kind))
}

// pod explains one pod: an object, or the template at a path in it.
func (e *explainer) pod(title, path string, o object, namespace string) error {
	if namespace == "" {
		namespace = e.namespace
	}
	if path != "" {
		fmt.Fprintf(e.out, "%s, %s\n", title, fpga.Show(path))
	}
	for _, line := range fillRequests(o) {
		fmt.Fprintln(e.out, line)
	}
	b, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	p, err := fpga.ParsePod(b)
	if err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	e.pods++
	if v := fpga.Explain(e.out, p, namespace, e.tables.Table(p.In(namespace)), e.options); v.Denied != "" {
		e.denied++
	}
	fmt.Fprintln(e.out)
	return nil
}

// templates finds the pod templates in an object, wherever its kind has them: what is called template and has a list
// of containers in its spec.
func templates(v any, path string, visit func(path string, template object) error) error {
	switch v := v.(type) {
	case object:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			at := strings.TrimPrefix(path+"."+key, ".")
			if template, ok := v[key].(object); ok && key == "template" && hasContainers(template) {
				if err := visit(at, template); err != nil {
					return err
				}
				continue
			}
			if err := templates(v[key], at, visit); err != nil {
				return err
			}
		}
	case []any:
		for i, item := range v {
			if err := templates(item, path+"["+strconv.Itoa(i)+"]", visit); err != nil {
				return err
			}
		}
	}
	return nil
}

func hasContainers(template object) bool {
	spec, _ := template["spec"].(object)
	_, ok := spec["containers"].([]any)
	return ok
}

// fillRequests does what the API server does before admission: a resource that has a limit and no request gets a
// request of the same quantity. It tells of those that matter here.
func fillRequests(pod object) (told []string) {
	spec, _ := pod["spec"].(object)
	for _, list := range []string{"initContainers", "containers"} {
		containers, _ := spec[list].([]any)
		for i, c := range containers {
			container, _ := c.(object)
			resources, _ := container["resources"].(object)
			limits, _ := resources["limits"].(object)
			if resources["requests"] == nil && len(limits) > 0 {
				resources["requests"] = object{}
			}
			requests, ok := resources["requests"].(object)
			if !ok {
				continue
			}
			for _, name := range slices.Sorted(maps.Keys(limits)) {
				if _, given := requests[name]; given {
					continue
				}
				requests[name] = limits[name]
				if strings.HasPrefix(name, v2.Prefix) {
					told = append(told, fmt.Sprintf("%s: its request of %s is filled from the limit, as the API server does",
						containerTitle(list, i, container), fpga.Show(name)))
				}
			}
		}
	}
	return told
}

// containerTitle names a container, by its place if it has no name.
func containerTitle(list string, i int, container object) string {
	if name, _ := container["name"].(string); name != "" {
		return roleOf(list, container) + " " + fpga.Show(name)
	}
	return list + "[" + strconv.Itoa(i) + "]"
}

// roleOf is what a container of a list is, in the words of the text about it.
func roleOf(list string, container object) string {
	switch {
	case list != "initContainers":
		return "container"
	case container["restartPolicy"] == "Always":
		return "sidecar"
	}
	return "init container"
}

// nameOf is an object's name, fit for a terminal.
func nameOf(o object) string {
	metadata, _ := o["metadata"].(object)
	for _, key := range []string{"name", "generateName"} {
		if name, ok := metadata[key].(string); ok && name != "" {
			return fpga.Show(name)
		}
	}
	return "without a name"
}

func namespaceOf(o object) string {
	metadata, _ := o["metadata"].(object)
	namespace, _ := metadata["namespace"].(string)
	return namespace
}
