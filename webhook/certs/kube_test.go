package certs

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
)

func TestOnlyTheBundleOfAConfigurationIsSet(t *testing.T) {
	fail, path := admissionv1.Fail, "/pods"
	before := &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "hook", ResourceVersion: "7", Labels: map[string]string{"a": "b"}},
		Webhooks: []admissionv1.MutatingWebhook{
			{Name: "one", FailurePolicy: &fail, ClientConfig: admissionv1.WebhookClientConfig{
				Service: &admissionv1.ServiceReference{Namespace: "ns", Name: "hook", Path: &path}, CABundle: []byte("old"),
			}},
			{Name: "two", MatchConditions: []admissionv1.MatchCondition{{Name: "m", Expression: "true"}}},
		},
	}
	c := fake.NewClientset(before.DeepCopy())
	r := KubeRegistrations(c.AdmissionregistrationV1(), "hook")
	ctx := t.Context()

	if config, err := r[1].Read(ctx); config != nil || err != nil {
		t.Errorf("a configuration that does not exist: %v, %v", config, err)
	}
	config, err := r[0].Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := r[0].SetBundle(ctx, config, []byte("new")); err != nil {
		t.Fatal(err)
	}
	after, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, "hook", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := before.DeepCopy()
	want.Webhooks[0].ClientConfig.CABundle = []byte("new")
	want.Webhooks[1].ClientConfig.CABundle = []byte("new")
	after.ManagedFields = nil
	if diff := cmp.Diff(want, after); diff != "" {
		t.Error(diff)
	}

	for what, stale := range map[string]Configuration{
		"older":         {ResourceVersion: "6", Entries: config.Entries},
		"other entries": {ResourceVersion: "7", Entries: []Entry{{Name: "two"}, {Name: "one"}}},
	} {
		if err := r[0].SetBundle(ctx, &stale, []byte("x")); err == nil {
			t.Errorf("%s: no error", what)
		}
		if now, err := r[0].Read(ctx); err != nil || string(now.Entries[0].CABundle) != "new" || string(now.Entries[1].CABundle) != "new" {
			t.Errorf("%s: %v, %v", what, now, err)
		}
	}
}

func TestTheSecretKeepsWhatIsNotOurs(t *testing.T) {
	c := fake.NewClientset(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "certs", Annotations: map[string]string{"a": "b"}},
		Data:       map[string][]byte{"other": []byte("x")},
	})
	ctx := t.Context()
	for _, name := range []string{"certs", "absent"} {
		s := KubeSecret(c.CoreV1(), "ns", name)
		old, err := s.Read(ctx)
		if err != nil || (old == nil) != (name == "absent") {
			t.Fatalf("%s: %v, %v", name, old, err)
		}
		if err := s.Write(ctx, old, map[string][]byte{keyCert: []byte("y")}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.CoreV1().Secrets("ns").Get(ctx, "certs", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string][]byte{"other": []byte("x"), keyCert: []byte("y")}, got.Data); diff != "" || got.Annotations["a"] != "b" {
		t.Error(diff, got.Annotations)
	}
	if err := KubeSecret(c.CoreV1(), "ns", "absent").Write(ctx, nil, nil); !errors.Is(err, ErrConflict) {
		t.Errorf("created twice: %v", err)
	}
}

func TestBeingLateIsAConflictAndOtherErrorsAreNot(t *testing.T) {
	secrets := schema.GroupResource{Resource: "secrets"}
	for _, c := range []struct {
		err  error
		want bool
	}{
		{apierrors.NewConflict(secrets, "certs", errors.New("changed")), true},
		{apierrors.NewAlreadyExists(secrets, "certs"), true},
		{apierrors.NewForbidden(secrets, "certs", errors.New("no")), false},
		{apierrors.NewInternalError(errors.New("etcd")), false},
	} {
		api := fake.NewClientset()
		api.PrependReactor("create", "secrets", func(k8stesting.Action) (bool, runtime.Object, error) { return true, nil, c.err })
		err := KubeSecret(api.CoreV1(), "ns", "certs").Write(t.Context(), nil, nil)
		if errors.Is(err, ErrConflict) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%v: %v", c.err, err)
		}
	}
}

func TestAWatchTellsOfItsBeginAndOfChanges(t *testing.T) {
	c := fake.NewClientset()
	ctx, cancel := context.WithCancel(t.Context())
	told, done := make(chan struct{}, 10), make(chan error, 1)
	s := KubeSecret(c.CoreV1(), "ns", "certs")
	go func() { done <- s.Watch(ctx, func() { told <- struct{}{} }) }()
	<-told
	if err := s.Write(ctx, nil, map[string][]byte{keyCert: nil}); err != nil {
		t.Fatal(err)
	}
	<-told
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
