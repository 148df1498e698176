package certs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/inlay-project/inlay/internal/kube"
)

// fieldManager names this process's writes in managedFields.
const fieldManager = "inlay-webhook"

// Kube connects to the API server: the Secret, and the two webhook configurations that have one name.
func Kube(c *rest.Config, namespace, secret, configuration string) (Secrets, []Registration, error) {
	core, err := kube.Client(c, corev1.SchemeGroupVersion, &corev1.Secret{})
	if err != nil {
		return nil, nil, err
	}
	admission, err := kube.Client(c, admissionv1.SchemeGroupVersion,
		&admissionv1.MutatingWebhookConfiguration{}, &admissionv1.ValidatingWebhookConfiguration{})
	if err != nil {
		return nil, nil, err
	}
	at := kubeObject{client: core, kind: "Secret", resource: "secrets", namespace: namespace, name: secret}
	mutating := kubeObject{
		client: admission, kind: "MutatingWebhookConfiguration", resource: "mutatingwebhookconfigurations", name: configuration,
	}
	validating := kubeObject{
		client: admission, kind: "ValidatingWebhookConfiguration", resource: "validatingwebhookconfigurations", name: configuration,
	}
	return &kubeSecret{at}, []Registration{
		registered(mutating, mutatingEntries),
		registered(validating, validatingEntries),
	}, nil
}

func mutatingEntries(c *admissionv1.MutatingWebhookConfiguration) (entries []Entry) {
	for _, w := range c.Webhooks {
		entries = append(entries, Entry{w.Name, w.ClientConfig.CABundle})
	}
	return entries
}

func validatingEntries(c *admissionv1.ValidatingWebhookConfiguration) (entries []Entry) {
	for _, w := range c.Webhooks {
		entries = append(entries, Entry{w.Name, w.ClientConfig.CABundle})
	}
	return entries
}

// kubeObject is one object of an API server.
type kubeObject struct {
	client          rest.Interface
	kind, resource  string
	namespace, name string
}

// String names it in messages.
func (k *kubeObject) String() string {
	if k.namespace == "" {
		return k.kind + " " + k.name
	}
	return k.kind + " " + k.namespace + "/" + k.name
}

// at is where the object is.
func (k *kubeObject) at(r *rest.Request) *rest.Request {
	return r.NamespaceIfScoped(k.namespace, k.namespace != "").Resource(k.resource).Name(k.name)
}

// read gives what is stored into o: without a resourceVersion an API server answers with what etcd holds. False without
// an error: there is none.
func (k *kubeObject) read(ctx context.Context, o runtime.Object) (bool, error) {
	err := k.at(k.client.Get()).Do(ctx).Into(o)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// send sends a change. One that comes late is told as ErrConflict. A JSON patch whose test fails is Invalid; so is one
// that the API server refuses for another reason, which shows by its coming again.
func send(ctx context.Context, r *rest.Request, body any) error {
	err := r.Param("fieldManager", fieldManager).Body(body).Do(ctx).Error()
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsInvalid(err) || apierrors.IsNotFound(err) {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return err
}

// Watch implements Secrets and Registration. The first event of a watch without a resourceVersion is the object as it is.
func (k *kubeObject) Watch(ctx context.Context, changed func()) error {
	w, err := k.client.Get().NamespaceIfScoped(k.namespace, k.namespace != "").Resource(k.resource).VersionedParams(&metav1.ListOptions{
		Watch: true, FieldSelector: fields.OneTermEqualSelector("metadata.name", k.name).String(),
	}, metav1.ParameterCodec).Watch(ctx)
	if err != nil {
		return err
	}
	defer w.Stop()
	changed() // it may have been deleted while nobody looked, of which no event tells
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case event, ok := <-w.ResultChan():
			switch {
			case !ok:
				return errors.New("closed by the API server")
			case event.Type == watch.Error:
				return apierrors.FromObject(event.Object)
			}
			changed()
		}
	}
}

type kubeSecret struct{ kubeObject }

// Read implements Secrets.
func (k *kubeSecret) Read(ctx context.Context) (*Secret, error) {
	s := &corev1.Secret{}
	if there, err := k.read(ctx, s); !there {
		return nil, err
	}
	return &Secret{ResourceVersion: s.ResourceVersion, Data: s.Data, origin: s}, nil
}

// Write implements Secrets.
func (k *kubeSecret) Write(ctx context.Context, old *Secret, data map[string][]byte) error {
	if old == nil {
		return send(ctx, k.client.Post().Namespace(k.namespace).Resource(k.resource), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: k.namespace, Name: k.name},
			Type:       corev1.SecretTypeOpaque,
			Data:       data,
		})
	}
	s := old.origin.DeepCopy()
	if s.Data == nil {
		s.Data = map[string][]byte{}
	}
	maps.Copy(s.Data, data)
	return send(ctx, k.at(k.client.Put()), s)
}

// configuration is one of the two types of webhook configurations; T is what the pointer points to.
type configuration[T any] interface {
	*T
	runtime.Object
	metav1.Object
}

type kubeRegistration[T any, C configuration[T]] struct {
	kubeObject
	entries func(C) []Entry
}

func registered[T any, C configuration[T]](o kubeObject, entries func(C) []Entry) Registration {
	return &kubeRegistration[T, C]{o, entries}
}

// Read implements Registration.
func (k *kubeRegistration[T, C]) Read(ctx context.Context) (*Configuration, error) {
	c := C(new(T))
	if there, err := k.read(ctx, c); !there {
		return nil, err
	}
	return &Configuration{
		UID: string(c.GetUID()), ResourceVersion: c.GetResourceVersion(), Generation: c.GetGeneration(),
		Entries: k.entries(c),
	}, nil
}

// SetBundle implements Registration by a JSON patch. It names each value that it sets, so it cannot touch another one,
// and its tests are one with its writes: on a configuration that has changed, or an entry that is another one now,
// nothing happens. A merge patch replaces lists whole. Server-side apply would make the configuration anew where it was
// deleted, bring back a deleted entry, and take the field from whoever else applies it.
func (k *kubeRegistration[T, C]) SetBundle(ctx context.Context, old *Configuration, bundle []byte) error {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	patch := []operation{{"test", "/metadata/resourceVersion", old.ResourceVersion}}
	for i, e := range old.Entries {
		at := fmt.Sprintf("/webhooks/%d/", i)
		patch = append(patch, operation{"test", at + "name", e.Name}, operation{"add", at + "clientConfig/caBundle", bundle})
	}
	b, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	return send(ctx, k.at(k.client.Patch(types.JSONPatchType)), b)
}
