package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/inlay-project/inlay/internal/folderwatch"
)

const (
	// settle is how long files are left alone after a change: a certificate and its key are two files.
	settle = 100 * time.Millisecond
	// reread is how often files are looked at without an event: a link may lead out of the folder that is watched.
	reread = time.Minute
)

// Files is a certificate that somebody else keeps in two files, cert-manager say. Run it once.
type Files struct {
	serving
	cert, key string
	log       logrus.FieldLogger

	problem atomic.Pointer[string] // of the last reading
}

var _ Source = (*Files)(nil)

// NewFiles reads the files for the first time. They may come later: then Missing says so.
func NewFiles(cert, key string, log logrus.FieldLogger) *Files {
	f := &Files{cert: cert, key: key, log: log}
	f.problem.Store(new(string))
	f.load()
	return f
}

// Run implements Source. The folders are watched and not the files: a Secret volume changes by one link in the folder
// that is swapped, others by rename. Where the kernel gives no inotify instance, a clock does.
func (f *Files) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	wake := make(chan struct{}, 1)
	changed := func(string) {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	if err := f.watch(ctx, &watching, changed); err != nil {
		f.log.WithError(err).Warnf("certificate files are looked at every %s only", reread)
	}
	for {
		f.load()
		if !sleep(ctx, reread, wake) || !sleep(ctx, settle, nil) {
			return nil
		}
		select { // what was written meanwhile is read now
		case <-wake:
		default:
		}
	}
}

// watch follows the folders of both files.
func (f *Files) watch(ctx context.Context, watching *sync.WaitGroup, changed func(string)) error {
	w, err := folderwatch.New()
	if err != nil {
		return err
	}
	folders := []string{filepath.Dir(f.cert)}
	if dir := filepath.Dir(f.key); dir != folders[0] {
		folders = append(folders, dir)
	}
	for _, dir := range folders {
		if _, e := w.Add(folderwatch.Folder{Path: dir, Content: true}, changed); e != nil {
			err = errors.Join(err, e)
		}
	}
	watching.Go(func() {
		if err := w.Run(ctx); err != nil {
			f.log.WithError(err).Warnf("certificate files are looked at every %s only", reread)
		}
	})
	return err
}

// load reads the files. What does not fit together, or has expired, changes nothing while there is something better.
func (f *Files) load() {
	c, err := f.read()
	old := f.current.Load()
	now := time.Now()
	if err == nil && old != nil && !now.Before(c.Leaf.NotAfter) && now.Before(old.Leaf.NotAfter) {
		err = fmt.Errorf("%s expired at %s", f.cert, c.Leaf.NotAfter.Format(time.RFC3339))
	}
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	if known := *f.problem.Swap(&problem); problem != "" && problem != known {
		text := "certificate cannot be read"
		if old != nil {
			text = "certificate cannot be read; the one before is served"
		}
		f.log.WithError(err).Warn(text)
	}
	if err != nil || old != nil && old.Leaf.Equal(c.Leaf) && len(old.Certificate) == len(c.Certificate) {
		return
	}
	f.current.Store(c)
	f.log.WithFields(logrus.Fields{
		"file": f.cert, "serial": c.Leaf.SerialNumber.Text(16), "ends": c.Leaf.NotAfter.Format(time.RFC3339),
	}).Info("certificate served")
}

func (f *Files) read() (*tls.Certificate, error) {
	cert, err := os.ReadFile(f.cert)
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(f.key)
	if err != nil {
		return nil, err
	}
	c, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", f.cert, f.key, err)
	}
	if c.Leaf == nil { // GODEBUG x509keypairleaf=0
		return nil, fmt.Errorf("%s: no certificate was parsed", f.cert)
	}
	return &c, nil
}

// Missing implements Source.
func (f *Files) Missing() []string {
	c := f.current.Load()
	switch {
	case c == nil:
		return []string{"no certificate yet: " + *f.problem.Load()}
	case !time.Now().Before(c.Leaf.NotAfter):
		return []string{fmt.Sprintf("the certificate of %s expired at %s", f.cert, c.Leaf.NotAfter.Format(time.RFC3339))}
	}
	return nil
}
