package epc

import (
	"fmt"

	"github.com/sirupsen/logrus"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/inlay-project/inlay/internal/kube"
	"github.com/inlay-project/inlay/webhook/api/follow"
)

// Source gives what follows the pods that are bound to a node. It needs the right to list and to watch pods.
func Source(c *rest.Config, node string, log logrus.FieldLogger) (follow.Source[*Pod], error) {
	client, err := kube.Client(c, schema.GroupVersion{Version: "v1"})
	if err != nil {
		return follow.Source[*Pod]{}, fmt.Errorf("pods of node %s: %w", node, err)
	}
	return follow.Source[*Pod]{
		Client: client, Resource: "pods", What: "pods of this node", Log: log,
		Selector: fields.OneTermEqualSelector("spec.nodeName", node),
		Decode:   func(raw []byte) (*Pod, error) { return Decode(raw, log) },
		Keep:     Reads,
	}, nil
}
