package oci

import (
	"encoding/json"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// index and descriptor have the fields in the order of the OCI image specification's own Go types and none besides, as
// skopeo writes an index anew when it copies one: the digest, which is signed, stays the same on its way to a registry.
type index struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     types.MediaType   `json:"mediaType"`
	Manifests     []descriptor      `json:"manifests"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type descriptor struct {
	MediaType   types.MediaType   `json:"mediaType"`
	Digest      v1.Hash           `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *v1.Platform      `json:"platform,omitempty"`
}

func marshalIndex(manifests []descriptor, annotations map[string]string) ([]byte, error) {
	return json.Marshal(index{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: manifests, Annotations: annotations})
}
