package certs

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/inlay-project/inlay/internal/kube/kubetest"
)

const (
	mutatingPath   = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/hook"
	validatingPath = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/hook"
	secretPath     = "/api/v1/namespaces/ns/secrets/certs"
)

// connect is the way to one API server, with the Secret of that name.
func connect(t *testing.T, s *kubetest.Server, secret string) (Secrets, []Registration) {
	t.Helper()
	secrets, registrations, err := Kube(s.Config(), "ns", secret, "hook")
	if err != nil {
		t.Fatal(err)
	}
	return secrets, registrations
}

func TestOnlyTheBundleOfAConfigurationIsSet(t *testing.T) {
	fail, path := admissionv1.Fail, "/pods"
	before := admissionv1.MutatingWebhookConfiguration{
		TypeMeta:   metav1.TypeMeta{Kind: "MutatingWebhookConfiguration", APIVersion: "admissionregistration.k8s.io/v1"},
		ObjectMeta: metav1.ObjectMeta{Name: "hook", Generation: 3, UID: "u", Labels: map[string]string{"a": "b"}},
		Webhooks: []admissionv1.MutatingWebhook{
			{Name: "one", FailurePolicy: &fail, ClientConfig: admissionv1.WebhookClientConfig{
				Service: &admissionv1.ServiceReference{Namespace: "ns", Name: "hook", Path: &path}, CABundle: []byte("old"),
			}},
			{Name: "two", MatchConditions: []admissionv1.MatchCondition{{Name: "m", Expression: "true"}}},
		},
	}
	s := kubetest.New()
	s.Put(mutatingPath, before)
	_, r := connect(t, s, "certs")
	ctx := t.Context()

	if config, err := r[1].Read(ctx); config != nil || err != nil {
		t.Errorf("a configuration that does not exist: %v, %v", config, err)
	}
	config, err := r[0].Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := &Configuration{UID: "u", ResourceVersion: "1", Generation: 3, Entries: []Entry{{"one", []byte("old")}, {"two", nil}}}
	if diff := cmp.Diff(want, config); diff != "" {
		t.Errorf("read: %s", diff)
	}
	if err := r[0].SetBundle(ctx, config, []byte("new")); err != nil {
		t.Fatal(err)
	}
	var after admissionv1.MutatingWebhookConfiguration
	s.Get(mutatingPath, &after)
	before.Webhooks[0].ClientConfig.CABundle = []byte("new")
	before.Webhooks[1].ClientConfig.CABundle = []byte("new")
	before.ResourceVersion = "2"
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}

	for what, stale := range map[string]Configuration{
		"older":         {ResourceVersion: "1", Entries: config.Entries},
		"other entries": {ResourceVersion: "2", Entries: []Entry{{Name: "two"}, {Name: "one"}}},
	} {
		if err := r[0].SetBundle(ctx, &stale, []byte("x")); !errors.Is(err, ErrConflict) {
			t.Errorf("%s: %v", what, err)
		}
		if now, err := r[0].Read(ctx); err != nil || string(now.Entries[0].CABundle) != "new" || string(now.Entries[1].CABundle) != "new" {
			t.Errorf("%s: %v, %v", what, now, err)
		}
	}
}

func TestBothConfigurationsAreKept(t *testing.T) {
	s := kubetest.New()
	s.Put(mutatingPath, admissionv1.MutatingWebhookConfiguration{Webhooks: []admissionv1.MutatingWebhook{{Name: "m"}}})
	s.Put(validatingPath, admissionv1.ValidatingWebhookConfiguration{Webhooks: []admissionv1.ValidatingWebhook{{Name: "v"}}})
	_, r := connect(t, s, "certs")
	for i, name := range []string{"m", "v"} {
		config, err := r[i].Read(t.Context())
		if err == nil {
			err = r[i].SetBundle(t.Context(), config, []byte("new"))
		}
		if err == nil {
			config, err = r[i].Read(t.Context())
		}
		if err != nil || !cmp.Equal(config.Entries, []Entry{{name, []byte("new")}}) {
			t.Errorf("%s: %v, %v", r[i], config, err)
		}
	}
}

func TestTheSecretKeepsWhatIsNotOurs(t *testing.T) {
	s := kubetest.New()
	s.Put(secretPath, corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "certs", Annotations: map[string]string{"a": "b"}},
		Data:       map[string][]byte{"other": []byte("x")},
	})
	ctx := t.Context()
	for _, name := range []string{"certs", "absent"} {
		secret, _ := connect(t, s, name)
		old, err := secret.Read(ctx)
		if err != nil || (old == nil) != (name == "absent") {
			t.Fatalf("%s: %v, %v", name, old, err)
		}
		if err := secret.Write(ctx, old, map[string][]byte{keyCert: []byte("y")}); err != nil {
			t.Fatal(err)
		}
		if err := secret.Write(ctx, old, map[string][]byte{keyCert: []byte("z")}); !errors.Is(err, ErrConflict) {
			t.Errorf("%s: written twice: %v", name, err)
		}
	}
	var got, made corev1.Secret
	s.Get(secretPath, &got)
	if diff := cmp.Diff(map[string][]byte{"other": []byte("x"), keyCert: []byte("y")}, got.Data); diff != "" || got.Annotations["a"] != "b" {
		t.Error(diff, got.Annotations)
	}
	if !s.Get("/api/v1/namespaces/ns/secrets/absent", &made) || made.Kind != "Secret" || made.Type != corev1.SecretTypeOpaque {
		t.Errorf("made: %+v", made)
	}
}

func TestBeingLateIsAConflictAndOtherErrorsAreNot(t *testing.T) {
	for code, want := range map[int]bool{
		http.StatusConflict: true, http.StatusNotFound: true, http.StatusUnprocessableEntity: true,
		http.StatusForbidden: false, http.StatusInternalServerError: false,
	} {
		s := kubetest.New()
		secret, _ := connect(t, s, "certs")
		s.Intercept(func(r *http.Request) int {
			if r.Method == http.MethodPost {
				return code
			}
			return 0
		})
		if err := secret.Write(t.Context(), nil, nil); err == nil || errors.Is(err, ErrConflict) != want {
			t.Errorf("%d: %v", code, err)
		}
	}
}

func TestAWatchTellsOfItsBeginAndOfChanges(t *testing.T) {
	s := kubetest.New()
	secret, registrations := connect(t, s, "certs")
	for name, object := range map[string]struct {
		watch  func(context.Context, func()) error
		change func()
	}{
		"Secret": {secret.Watch, func() { s.Put(secretPath, corev1.Secret{TypeMeta: metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"}}) }},
		"Configuration": {registrations[1].Watch, func() {
			s.Put(validatingPath, admissionv1.ValidatingWebhookConfiguration{
				TypeMeta: metav1.TypeMeta{Kind: "ValidatingWebhookConfiguration", APIVersion: "admissionregistration.k8s.io/v1"},
			})
		}},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		told, done := make(chan struct{}, 10), make(chan error, 1)
		go func() { done <- object.watch(ctx, func() { told <- struct{}{} }) }()
		<-told
		object.change()
		<-told
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
