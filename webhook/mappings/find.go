package mappings

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/inlay-project/inlay/fpga"
	v2 "github.com/inlay-project/inlay/webhook/api/v2"
	webhook "github.com/inlay-project/inlay/webhook/fpga"
)

// What a Finder asks at most, however many pods name what is not there. A question is one or two requests.
const (
	findLimit  = time.Second            // for all that one pod seeks; the registration's timeout is 5 s
	askLimit   = 500 * time.Millisecond // for one question
	againAfter = time.Second            // what was not there, and an API server that did not answer, is not asked before
	askSlots   = 8                      // questions at a time
	askRate    = 50                     // questions a second
	askBurst   = 100
)

// Asker asks the API server for those mappings of one kind that are sought in a namespace. None is no error.
type Asker func(ctx context.Context, kind v2.Kind, namespace string, s webhook.Sought) ([]v2.Object, error)

// Finder asks for mappings that an Index does not have, because its watch has not told it yet. Whatever it is asked for,
// it is no way to load the API server: the same question is under way once, an answer that there is nothing holds for a
// second, one that fails ends all asking for that long, and there are never more than 8 questions at a time and 50 a
// second. Who is above that learns of no mapping, as without a Finder.
//
// Its methods are safe for concurrent use.
type Finder struct {
	ask   Asker
	log   logrus.FieldLogger
	slots chan struct{}
	pace  flowcontrol.PassiveRateLimiter

	mu      sync.Mutex
	answers map[question]*answer
	quiet   time.Time // nothing is asked before
}

type question struct {
	namespace string
	webhook.Sought
}

// answer is one that is under way, or says that there is nothing.
type answer struct {
	done    chan struct{}   // closed once entries are there
	entries []webhook.Entry // written before that
	until   time.Time       // how long it holds; zero while it is under way
}

// NewFinder makes one that asks by ask.
func NewFinder(ask Asker, log logrus.FieldLogger) *Finder {
	return &Finder{
		ask: ask, log: log, slots: make(chan struct{}, askSlots), answers: map[question]*answer{},
		pace: flowcontrol.NewTokenBucketPassiveRateLimiter(askRate, askBurst),
	}
}

// Find gives those of the sought mappings that a namespace has; none unless it has all of them. Each was there at some
// moment of the call. It takes a second at most.
func (f *Finder) Find(ctx context.Context, namespace string, sought []webhook.Sought) []webhook.Entry {
	if len(validation.ValidateNamespaceName(namespace, false)) > 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, findLimit)
	defer cancel()
	var found []webhook.Entry
	for _, s := range sought {
		if !canBe(s) {
			return nil
		}
		entries := f.find(ctx, question{namespace, s})
		if len(entries) == 0 {
			return nil // the pod lacks it, whatever else there is
		}
		found = append(found, entries...)
	}
	return found
}

// canBe tells whether a mapping may have such a name or such ids.
func canBe(s webhook.Sought) bool {
	if s.Name != "" {
		return len(validation.NameIsDNSSubdomain(s.Name, false)) == 0
	}
	if i, err := fpga.ParseInterfaceID(string(s.Interface)); err != nil || i != s.Interface {
		return false
	}
	if s.Function == "" {
		return true
	}
	function, err := fpga.ParseFunctionID(string(s.Function))
	return err == nil && function == s.Function
}

// find answers one question: by asking, or by waiting for who has asked it already.
func (f *Finder) find(ctx context.Context, q question) []webhook.Entry {
	now := time.Now()
	f.mu.Lock()
	a := f.answers[q]
	switch {
	case a != nil && (a.until.IsZero() || now.Before(a.until)):
		f.mu.Unlock()
		select {
		case <-a.done:
			return a.entries
		case <-ctx.Done():
			return nil
		}
	case now.Before(f.quiet) || !f.pace.TryAccept():
		f.mu.Unlock()
		return nil
	}
	for old, a := range f.answers { // no more than have been asked in a second
		if !a.until.IsZero() && !now.Before(a.until) {
			delete(f.answers, old)
		}
	}
	q.namespace = strings.Clone(q.namespace) // it may be the request's memory
	a = &answer{done: make(chan struct{})}
	f.answers[q] = a
	f.mu.Unlock()
	f.answer(ctx, q, a)
	return a.entries
}

// answer asks, for all who wait: that the one who asked first has gone is no reason to stop.
func (f *Finder) answer(ctx context.Context, q question, a *answer) {
	var err error
	asked := false
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		a.until = time.Now().Add(againAfter)
		switch {
		case !asked || len(a.entries) > 0:
			delete(f.answers, q) // the next one asks again
		case err != nil:
			f.quiet = a.until
		}
		close(a.done)
	}()
	deadline, _ := ctx.Deadline() // that of Find
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	defer cancel()
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-ctx.Done():
		return
	}
	f.mu.Lock()
	quiet := f.quiet
	f.mu.Unlock()
	if time.Now().Before(quiet) {
		return // since it has waited
	}
	ctx, cancel = context.WithTimeout(ctx, askLimit)
	defer cancel()
	asked = true
	if a.entries, err = f.both(ctx, q); err != nil {
		f.log.WithError(err).WithField("namespace", q.namespace).
			Warn("the API server was asked for a mapping that a pod seeks, and gives none; pods are judged by those that are known")
	}
}

// both asks for both kinds at once, as far as they can have what is sought.
func (f *Finder) both(ctx context.Context, q question) ([]webhook.Entry, error) {
	kinds := v2.Kinds()
	var told [len(kinds)][]v2.Object
	group, ctx := errgroup.WithContext(ctx)
	for i, kind := range kinds {
		if q.Function != "" && kind == v2.KindFpgaRegion {
			continue // it has none
		}
		group.Go(func() (err error) {
			told[i], err = f.ask(ctx, kind, q.namespace, q.Sought)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var entries []webhook.Entry
	for _, objects := range told {
		for _, o := range objects {
			entries = append(entries, webhook.EntryOf(o))
		}
	}
	if len(entries) > 0 {
		f.log.WithFields(logrus.Fields{"namespace": q.namespace, "mapping": entries[0].Name}).
			Debug("a pod came before the news of its mapping")
	}
	return entries, nil
}
