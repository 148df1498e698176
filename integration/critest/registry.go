package critest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/inlay-project/inlay/integration/ocitest"
)

// Registry is a registry on the loopback interface that serves images under the names
// that they have elsewhere: a runtime that takes it for a mirror of those registries
// pulls them as if they came from there.
type Registry struct {
	server *http.Server
	addr   string
}

// Serve starts a registry with these images; their files are kept below dir.
func Serve(dir string, images []ocitest.Image) (*Registry, error) {
	index, err := unpack(dir, images)
	if err != nil {
		return nil, err
	}
	// The layout's folder of blobs is as the registry's own.
	handler := registry.New(
		registry.Logger(log.New(io.Discard, "", 0)),
		registry.WithBlobHandler(registry.NewDiskBlobHandler(filepath.Join(dir, "blobs"))),
	)
	for _, m := range index.Manifests {
		if err := m.put(dir, handler); err != nil {
			return nil, err
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	r := &Registry{server: &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}, addr: listener.Addr().String()}
	go func() { _ = r.server.Serve(listener) }() // it ends with Close
	return r, nil
}

// Addr is host:port; plain HTTP.
func (r *Registry) Addr() string { return r.addr }

// Close ends the registry with its connections.
func (r *Registry) Close() error { return r.server.Close() }

type imageIndex struct{ Manifests []manifest }

type manifest struct {
	MediaType, Digest string
	Annotations       map[string]string
}

// put stores the manifest under its name without the registry's host.
func (m manifest) put(dir string, handler http.Handler) error {
	name := m.Annotations["org.opencontainers.image.ref.name"]
	_, path, _ := strings.Cut(name, "/")
	repository, tag, ok := strings.Cut(path, ":")
	if !ok {
		return fmt.Errorf("registry: image %q: not host/path:tag", name)
	}
	data, err := os.ReadFile(filepath.Join(dir, "blobs", strings.ReplaceAll(m.Digest, ":", "/")))
	if err != nil {
		return fmt.Errorf("registry: image %s: %w", name, err)
	}
	request := httptest.NewRequest(http.MethodPut, "/v2/"+repository+"/manifests/"+tag, bytes.NewReader(data))
	request.Header.Set("Content-Type", m.MediaType)
	answer := httptest.NewRecorder()
	if handler.ServeHTTP(answer, request); answer.Code != http.StatusCreated {
		return fmt.Errorf("registry: image %s: %d: %s", name, answer.Code, answer.Body)
	}
	return nil
}

// unpack writes the images as an OCI layout.
func unpack(dir string, images []ocitest.Image) (index imageIndex, err error) {
	var archive bytes.Buffer
	if err := ocitest.WriteArchive(&archive, images...); err != nil {
		return index, err
	}
	for r := tar.NewReader(&archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return index, nil
		}
		if err != nil {
			return index, err
		}
		path := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(path, 0o755); err != nil {
				return index, err
			}
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return index, err
		}
		if h.Name == "index.json" {
			if err := json.Unmarshal(data, &index); err != nil {
				return index, fmt.Errorf("index.json: %w", err)
			}
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return index, err
		}
	}
}
