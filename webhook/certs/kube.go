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
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	admissionclient "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// fieldManager names this process's writes in managedFields.
const fieldManager = "inlay-webhook"

// Kube connects to the API server: the Secret, and the two webhook configurations that have one name.
func Kube(c *rest.Config, namespace, secret, configuration string) (Secrets, []Registration, error) {
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		return nil, nil, fmt.Errorf("client of the API server: %w", err)
	}
	core, err := coreclient.NewForConfigAndClient(c, client)
	if err != nil {
		return nil, nil, fmt.Errorf("client for Secrets: %w", err)
	}
	admission, err := admissionclient.NewForConfigAndClient(c, client)
	if err != nil {
		return nil, nil, fmt.Errorf("client for webhook configurations: %w", err)
	}
	return KubeSecret(core, namespace, secret), KubeRegistrations(admission, configuration), nil
}

// KubeSecret is a Secret of an API server. It needs get, watch and update on it; create where it does not exist.
func KubeSecret(c coreclient.SecretsGetter, namespace, name string) Secrets {
	return &kubeSecret{client: c.Secrets(namespace), namespace: namespace, name: name}
}

// KubeRegistrations are the mutating and the validating configuration of that name. They need get, watch and patch.
func KubeRegistrations(c admissionclient.AdmissionregistrationV1Interface, name string) []Registration {
	return []Registration{
		&kubeRegistration[*admissionv1.MutatingWebhookConfiguration]{
			kind: "MutatingWebhookConfiguration", name: name, client: c.MutatingWebhookConfigurations(),
			entries: func(c *admissionv1.MutatingWebhookConfiguration) (entries []Entry) {
				for _, w := range c.Webhooks {
					entries = append(entries, Entry{w.Name, w.ClientConfig.CABundle})
				}
				return entries
			},
		},
		&kubeRegistration[*admissionv1.ValidatingWebhookConfiguration]{
			kind: "ValidatingWebhookConfiguration", name: name, client: c.ValidatingWebhookConfigurations(),
			entries: func(c *admissionv1.ValidatingWebhookConfiguration) (entries []Entry) {
				for _, w := range c.Webhooks {
					entries = append(entries, Entry{w.Name, w.ClientConfig.CABundle})
				}
				return entries
			},
		},
	}
}

type kubeSecret struct {
	client          coreclient.SecretInterface
	namespace, name string
}

func (k *kubeSecret) String() string { return "Secret " + k.namespace + "/" + k.name }

// Read implements Secrets. Without a resourceVersion an API server answers with what etcd holds.
func (k *kubeSecret) Read(ctx context.Context) (*Secret, error) {
	s, err := k.client.Get(ctx, k.name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &Secret{ResourceVersion: s.ResourceVersion, Data: s.Data, origin: s}, nil
}

// Write implements Secrets.
func (k *kubeSecret) Write(ctx context.Context, old *Secret, data map[string][]byte) error {
	if old == nil {
		_, err := k.client.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: k.namespace, Name: k.name},
			Type:       corev1.SecretTypeOpaque,
			Data:       data,
		}, metav1.CreateOptions{FieldManager: fieldManager})
		return conflict(err)
	}
	s := old.origin.DeepCopy()
	if s.Data == nil {
		s.Data = map[string][]byte{}
	}
	maps.Copy(s.Data, data)
	_, err := k.client.Update(ctx, s, metav1.UpdateOptions{FieldManager: fieldManager})
	return conflict(err)
}

// Watch implements Secrets.
func (k *kubeSecret) Watch(ctx context.Context, changed func()) error {
	return follow(ctx, k.client.Watch, k.name, changed)
}

// configurationClient is what both kinds' clients have.
type configurationClient[T any] interface {
	Get(ctx context.Context, name string, opts metav1.GetOptions) (T, error)
	Watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
	Patch(
		ctx context.Context, name string, pt types.PatchType, data []byte, opts metav1.PatchOptions, subresources ...string,
	) (T, error)
}

type kubeRegistration[T metav1.Object] struct {
	kind, name string
	client     configurationClient[T]
	entries    func(T) []Entry
}

func (k *kubeRegistration[T]) String() string { return k.kind + " " + k.name }

// Read implements Registration.
func (k *kubeRegistration[T]) Read(ctx context.Context) (*Configuration, error) {
	c, err := k.client.Get(ctx, k.name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
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
func (k *kubeRegistration[T]) SetBundle(ctx context.Context, old *Configuration, bundle []byte) error {
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
	_, err = k.client.Patch(ctx, k.name, types.JSONPatchType, b, metav1.PatchOptions{FieldManager: fieldManager})
	return conflict(err)
}

// Watch implements Registration.
func (k *kubeRegistration[T]) Watch(ctx context.Context, changed func()) error {
	return follow(ctx, k.client.Watch, k.name, changed)
}

// conflict tells the errors of being late. A JSON patch whose test fails is Invalid; so is one that the API server
// refuses for another reason, which shows by its coming again.
func conflict(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsInvalid(err) || apierrors.IsNotFound(err) {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return err
}

// follow watches one object. The first event of a watch without a resourceVersion is the object as it is.
func follow(
	ctx context.Context, begin func(context.Context, metav1.ListOptions) (watch.Interface, error), name string, changed func(),
) error {
	w, err := begin(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
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
