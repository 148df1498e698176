package status

import (
	"context"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsapi "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/inlay-project/inlay/internal/kube"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

const (
	reporter = "fpga.intel.com/inlay-webhook"
	// noteLimit is the API's.
	noteLimit = 1024
)

// EventClient connects to the API group of Events.
func EventClient(c *rest.Config) (rest.Interface, error) {
	config := rest.CopyConfig(c)
	config.QPS, config.Burst = 50, 100 // a namespace full of conflicts must not hold up the status
	return kube.Client(config, eventsapi.SchemeGroupVersion, &eventsapi.Event{})
}

// tell makes an Event of a mapping that has lost its name. It is created here and now, at the pace of the writes: a
// broadcaster would keep each for minutes to find repetitions, and there are none. One that gets lost is only logged:
// the condition says the same, and stays.
func (w *Writer) tell(ctx context.Context, i item, o v2.Object, a answer) {
	if w.Events == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	now := time.Now()
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "unknown"
	}
	err = w.Events.Post().Namespace(i.namespace).Resource("events").Body(&eventsapi.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: i.namespace, Name: fmt.Sprintf("%s.%x", i.name, now.UnixNano())},
		EventTime:  metav1.NewMicroTime(now), ReportingController: reporter, ReportingInstance: "inlay-webhook-" + host,
		Type: corev1.EventTypeWarning, Reason: v2.ReasonNameConflict, Action: "Translating", Note: a.message[:min(len(a.message), noteLimit)],
		Regarding: corev1.ObjectReference{
			APIVersion: v2.GroupVersion.String(), Kind: string(i.kind), Namespace: i.namespace, Name: i.name,
			UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(),
		},
	}).Do(ctx).Error()
	if err != nil && ctx.Err() == nil {
		w.Log.WithError(err).WithField("namespace", i.namespace).Debug("event not written")
	}
}
