package cluster

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// Install chooses what of deploy/ is applied, and which images.
type Install struct {
	// Overlay is a folder of deploy/overlays; empty is region. A path with a slash is a folder of the source tree.
	Overlay string
	// Images is a folder of images that take the place of the Tools'; they are called by their own tags.
	Images string
}

// Names of what deploy/ installs.
const (
	NodeNamespace    = "inlay-node"
	SystemNamespace  = "inlay-system"
	NodeDaemonSet    = "inlay-node"
	WebhookName      = "inlay-webhook"
	installLimit     = 3 * time.Minute
	rolloutCallLimit = "45s" // below a call of kubectl's own limit
)

// Overlay is the folder that Install applies.
func (c *Cluster) Overlay(i Install) string {
	name := cmp.Or(i.Overlay, "region")
	if strings.ContainsRune(name, '/') {
		return filepath.Join(c.tools.Tree, name)
	}
	return filepath.Join(c.tools.Tree, "deploy", "overlays", name)
}

// Install brings Inlay's images to the node, applies an overlay of deploy/ and waits until all of its pods are ready.
// Called again with another overlay or other images it is an upgrade.
func (c *Cluster) Install(ctx context.Context, i Install) error {
	phase := c.Phases.begin("Inlay's images")
	if err := c.ImportImages(ctx, cmp.Or(i.Images, c.tools.Images)); err != nil {
		return err
	}
	phase.end()
	phase = c.Phases.begin("kubectl apply -k " + filepath.Base(c.Overlay(i)))
	if err := c.ApplyOverlay(ctx, i); err != nil {
		return err
	}
	phase.end()
	defer c.Phases.begin("Inlay's pods ready").end()
	return c.AwaitInstalled(ctx)
}

// ImportImages brings all images of a folder to the node.
func (c *Cluster) ImportImages(ctx context.Context, dir string) error {
	files, err := archives(dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := c.Import(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

// ImageTag is the tag of the node's image that Install installs.
func (c *Cluster) ImageTag(ctx context.Context) (string, error) {
	return NodeImageTag(ctx, c.tools.Images)
}

// ApplyOverlay applies the manifests and waits for nothing. They are applied as they are where the images have the tag
// that they name, and else by a kustomization that changes the tags.
func (c *Cluster) ApplyOverlay(ctx context.Context, i Install) error {
	folder := c.Overlay(i)
	tags, err := c.tags(ctx, cmp.Or(i.Images, c.tools.Images))
	if err != nil {
		return err
	}
	if len(tags) > 0 {
		if folder, err = c.retagged(folder, tags); err != nil {
			return err
		}
	}
	return c.Admin().Try(ctx, "", "apply", "-k", folder).Err
}

// imageTag is an entry of a kustomization's images.
type imageTag struct {
	Name   string `json:"name"`
	NewTag string `json:"newTag"`
}

// tags are those of a folder's images that manifests do not name.
func (c *Cluster) tags(ctx context.Context, dir string) ([]imageTag, error) {
	files, err := archives(dir)
	if err != nil {
		return nil, err
	}
	var tags []imageTag
	for _, file := range files {
		reference, err := Reference(ctx, file)
		if err != nil {
			return nil, err
		}
		name, tag, _ := strings.Cut(filepath.Base(reference), ":")
		if tag != ImageVersion {
			tags = append(tags, imageTag{Name: "docker.io/inlay/" + name, NewTag: tag})
		}
	}
	return tags, nil
}

// retagged makes a kustomization that is the folder with other tags.
func (c *Cluster) retagged(folder string, tags []imageTag) (string, error) {
	dir := c.path(fmt.Sprintf("kustomize-%d", c.count.Add(1)))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	relative, err := filepath.Rel(dir, folder)
	if err != nil {
		return "", err
	}
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": []string{relative}, "images": tags,
	})
	if err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), text, 0o644)
}

// AwaitInstalled waits until every DaemonSet and Deployment of Inlay that there is has rolled out.
func (c *Cluster) AwaitInstalled(ctx context.Context) error {
	return c.Await(ctx, installLimit, "Inlay's pods", func(ctx context.Context) error {
		for _, workload := range [][2]string{{NodeNamespace, "daemonset/" + NodeDaemonSet}, {SystemNamespace, "deployment/" + WebhookName}} {
			if r := c.Admin().Try(ctx, "", "get", workload[1], "-n", workload[0], "--ignore-not-found", "-o", "name"); r.Err != nil {
				return r.Err
			} else if r.Stdout == "" {
				continue
			}
			if r := c.Admin().Try(ctx, "", "rollout", "status", workload[1], "-n", workload[0], "--timeout="+rolloutCallLimit); r.Err != nil {
				return fmt.Errorf("%w\n%s", r.Err, c.Describe(ctx, workload[0]))
			}
		}
		return nil
	})
}

// Describe tells what is wrong with the pods of a namespace: their states, last words and events.
func (c *Cluster) Describe(ctx context.Context, namespace string) string {
	var s strings.Builder
	for _, args := range [][]string{
		{"get", "pods", "-n", namespace, "-o", "wide"},
		{"get", "events", "-n", namespace, "--sort-by=.lastTimestamp", "-o", "custom-columns=T:.lastTimestamp,OBJECT:.involvedObject.name,REASON:.reason,MESSAGE:.message"},
	} {
		r := c.Admin().Try(ctx, "", args...)
		s.WriteString(r.Stdout + r.Stderr)
	}
	return s.String()
}
