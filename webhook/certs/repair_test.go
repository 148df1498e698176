package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// with changes the Secret as somebody else would.
func (w *fakeWorld) with(change func(data map[string][]byte)) {
	w.change(func() {
		data := maps.Clone(w.secret.Data)
		change(data)
		w.secret = &Secret{ResourceVersion: fmt.Sprint(w.rv + 1), Data: data}
	})
}

// running gives two replicas at rest.
func running(t *testing.T) (*fakeWorld, []*replica) {
	w := newFakeWorld()
	all := []*replica{w.start(t, "a", shortPolicy()), w.start(t, "b", shortPolicy())}
	for _, r := range all {
		t.Cleanup(r.stop)
	}
	time.Sleep(time.Minute)
	return w, all
}

func TestForeignChangesOfAConfigurationLastLessThanASecond(t *testing.T) {
	foreign, err := newCA(time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(w *fakeWorld){
		"emptied":            func(w *fakeWorld) { w.setBundle(0, nil) },
		"a foreign CA":       func(w *fakeWorld) { w.setBundle(1, foreign.certPEM) },
		"no certificate":     func(w *fakeWorld) { w.setBundle(1, []byte("x")) },
		"both":               func(w *fakeWorld) { w.setBundle(0, nil); w.setBundle(1, foreign.certPEM) },
		"deleted and made":   func(w *fakeWorld) { w.change(func() { w.configs[0] = nil }); w.create(0) },
		"an entry came":      func(w *fakeWorld) { w.change(func() { w.configs[0] = w.configs[0].twice() }) },
		"and our CA with it": func(w *fakeWorld) { w.setBundle(0, append([]byte(w.bundle(0)), foreign.certPEM...)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, all := running(t)
				leaf := all[0].leaf()
				change(w)
				time.Sleep(time.Second)
				for i := range 2 {
					for _, e := range w.config(i).Entries {
						if string(e.CABundle) != string(w.data()[keyBundle]) {
							t.Errorf("entry %s of configuration %d has another bundle", e.Name, i)
						}
					}
				}
				if !all[0].leaf().Equal(leaf) || strings.Count(w.bundle(0), "BEGIN") != 1 {
					t.Error("something was issued")
				}
			})
		})
	}
}

func (c *Configuration) twice() *Configuration {
	n := c.with(c.Entries[0].CABundle, 1<<20)
	n.Entries = append(n.Entries, Entry{Name: "late"})
	return n
}

func TestAMissingConfigurationIsSaidAndNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.configs[1] = nil
		r := w.start(t, "r", shortPolicy())
		defer r.stop()
		time.Sleep(time.Minute)
		if m := strings.Join(r.Missing(), "\n"); m != "ValidatingWebhookConfiguration hook does not exist" {
			t.Errorf("missing: %s", m)
		}
		w.create(1)
		time.Sleep(time.Second)
		if m := r.Missing(); len(m) > 0 {
			t.Errorf("missing: %s", m)
		}
		if log := strings.Join(r.log(), "\n"); strings.Contains(log, "warning") {
			t.Error(log)
		}
	})
}

func TestErrorsOfTheAPIServerLeaveWhatIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		calls, down := 0, true
		w.meet = func(_, call string) fault {
			w.mu.Lock()
			defer w.mu.Unlock()
			calls++
			if down {
				return failBefore
			}
			return fine
		}
		set := func(v bool) { w.mu.Lock(); down, calls = v, 0; w.mu.Unlock() }
		r := w.start(t, "r", shortPolicy())
		defer r.stop()
		time.Sleep(time.Minute)
		if m := strings.Join(r.Missing(), "\n"); strings.Count(m, errFake.Error()) != 3 || !strings.HasPrefix(m, "no certificate yet") {
			t.Errorf("missing: %s", m)
		}
		set(false)
		time.Sleep(time.Minute)
		leaf := r.leaf()
		if len(r.Missing()) > 0 {
			t.Fatal(r.Missing())
		}
		set(true)
		time.Sleep(time.Minute / 2)
		if m := r.Missing(); len(m) > 0 {
			t.Errorf("a short outage: %s", m)
		}
		time.Sleep(10 * time.Minute)
		if m := strings.Join(r.Missing(), "\n"); !strings.Contains(m, "Secret ns/certs: "+errFake.Error()) {
			t.Errorf("a long one: %s", m)
		}
		if !r.leaf().Equal(leaf) {
			t.Error("another certificate is served")
		}
		if calls > 300 {
			t.Errorf("%d calls in ten minutes", calls)
		}
		set(false)
		time.Sleep(time.Minute)
		if m := r.Missing(); len(m) > 0 {
			t.Error(m)
		}
	})
}

// TestWhatTheSecretLosesIsReplaced damages the Secret of two running replicas. Clients must not notice, and it ends in
// order; then the same for a process that starts with it.
func TestWhatTheSecretLosesIsReplaced(t *testing.T) {
	p := shortPolicy()
	other := foreignContents(t, p)
	for name, c := range map[string]struct {
		change func(data map[string][]byte)
		log    string // what is said
	}{
		"deleted":               {nil, "what is served is still good"},
		"empty":                 {func(d map[string][]byte) { clear(d) }, "what is served is still good"},
		"unparsable leaf":       {func(d map[string][]byte) { d[keyCert] = []byte("x") }, "tls.crt: "},
		"key of another leaf":   {func(d map[string][]byte) { d[keyKey] = other[keyKey] }, "tls.crt: tls: private key does not match"},
		"leaf of another CA":    {func(d map[string][]byte) { d[keyCert], d[keyKey] = other[keyCert], other[keyKey] }, "unknown authority"},
		"key of another CA":     {func(d map[string][]byte) { d[keyCAKey] = other[keyCAKey] }, "ca.crt: tls: private key does not match"},
		"another CA":            {func(d map[string][]byte) { d[keyCACert], d[keyCAKey] = other[keyCACert], other[keyCAKey] }, "the bundle is not in order"},
		"bundle lost":           {func(d map[string][]byte) { d[keyBundle] = nil }, "the bundle is not in order"},
		"no certificate in it":  {func(d map[string][]byte) { d[keyBundle] = append(d[keyBundle], "x"...) }, "no PEM"},
		"a leaf in the bundle":  {func(d map[string][]byte) { d[keyBundle] = append(d[keyBundle], d[keyCert]...) }, "is no CA"},
		"all of it another one": {func(d map[string][]byte) { maps.Copy(d, other) }, "clients trust the certificate that is served"},
		"a foreign value":       {func(d map[string][]byte) { d["note"] = []byte("mine") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, all := running(t)
				if c.change == nil {
					w.change(func() { w.secret = nil })
				} else {
					w.with(c.change)
				}
				for range 12 * 60 {
					time.Sleep(time.Second)
					if err := w.violation(all, p, p.Overlap/2, time.Hour); err != nil {
						t.Fatal(err)
					}
				}
				checkEnd(t, w, all, p)
				if log := strings.Join(append(all[0].log(), all[1].log()...), "\n"); !strings.Contains(log, c.log) {
					t.Errorf("not said: %s\n%s", c.log, log)
				}
				if name == "a foreign value" && string(w.data()["note"]) != "mine" {
					t.Error("a foreign value was lost")
				}
			})
		})
		t.Run(name+", at a start", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, all := running(t)
				all[0].stop()
				all[1].stop()
				if c.change == nil {
					w.change(func() { w.secret = nil })
				} else {
					w.with(c.change)
				}
				r := w.start(t, "c", p)
				t.Cleanup(r.stop)
				time.Sleep(12 * time.Minute)
				checkEnd(t, w, []*replica{r}, p)
			})
		})
	}
}

func checkEnd(t *testing.T, w *fakeWorld, all []*replica, p Policy) {
	t.Helper()
	if s := stage(w, p); s != "steady" {
		t.Errorf("ends %s", s)
	}
	for _, r := range all {
		if m := r.Missing(); len(m) > 0 {
			t.Error(m)
		}
		for i := range 2 {
			if err := shake(t, r, w.bundle(i), p.serverName()); err != nil {
				t.Error(err)
			}
		}
	}
}

// foreignContents is a whole Secret of another installation, made at the time at which bubbles begin.
func foreignContents(t *testing.T, p Policy) (data map[string][]byte) {
	synctest.Test(t, func(t *testing.T) {
		c, err := build(action{kind: anew}, situation{stored: &contents{}}, time.Now(), p)
		if err != nil {
			t.Fatal(err)
		}
		data = c.encode()
	})
	return data
}

func TestKeysThatAreNotOursAreReplacedInStages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := shortPolicy()
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		ca, _ := issue(t, 20*time.Minute)
		template := *ca.cert
		template.SignatureAlgorithm, template.PublicKey, template.SubjectKeyId = x509.UnknownSignatureAlgorithm, nil, nil
		der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		keyDER, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		ca, err = parsePair(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der}),
			pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := newLeaf(ca, time.Now(), 20*time.Minute, p.names())
		if err != nil {
			t.Fatal(err)
		}
		w := newFakeWorld()
		w.with(func(map[string][]byte) {})
		w.secret.Data = (&contents{ca: ca, leaf: leaf, bundle: []*x509.Certificate{ca.cert}}).encode()
		w.setBundle(0, ca.certPEM)
		w.setBundle(1, ca.certPEM)
		r := w.start(t, "r", p)
		defer r.stop()
		for range 5 * 60 {
			time.Sleep(time.Second)
			if err := w.violation([]*replica{r}, p, p.Overlap/2, time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		c := parse(w.data(), time.Now(), p)
		if k, ok := c.ca.key.(*ecdsa.PrivateKey); !ok || k.Curve != elliptic.P256() || !c.rotated() {
			t.Errorf("CA key %T", c.ca.key)
		}
	})
}
