package lease

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	resource = "leases"
	// fieldManager names this process's writes in managedFields.
	fieldManager = "inlay-webhook"
)

// holder is whom a Lease names; nobody is "".
func holder(l *coordinationv1.Lease) string {
	if l == nil || l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

// ours tells whether the Lease as it is known names this process.
func (h *Holder) ours() bool { return holder(h.known) == h.Identity }

// heldAt tells whether another has the Lease at that time of this process's clock.
func (h *Holder) heldAt(at time.Time) bool {
	if h.ours() || holder(h.known) == "" {
		return false
	}
	lasts := Duration
	if s := h.known.Spec.LeaseDurationSeconds; s != nil {
		lasts = time.Duration(*s) * time.Second
	}
	return at.Before(h.seen.Add(lasts))
}

// sameTerm tells whether two states of the Lease are of one renewal.
func sameTerm(a, b *coordinationv1.Lease) bool {
	if a == nil || b == nil {
		return a == b
	}
	return holder(a) == holder(b) && a.Spec.RenewTime.Equal(b.Spec.RenewTime)
}

// claim is the Lease as this process's from at on.
func (h *Holder) claim(at time.Time) *coordinationv1.Lease {
	now := metav1.NewMicroTime(at)
	l := h.known.DeepCopy()
	switch {
	case l == nil:
		l = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: h.Namespace, Name: h.Name}}
		l.Spec.AcquireTime, l.Spec.LeaseTransitions = &now, new(int32)
	case !h.ours():
		changes := int32(1)
		if n := l.Spec.LeaseTransitions; n != nil {
			changes += *n
		}
		l.Spec.AcquireTime, l.Spec.LeaseTransitions = &now, &changes
	}
	lasts := int32(Duration / time.Second)
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &h.Identity, &lasts, &now
	return l
}

// read looks at the Lease as it is stored, not as it was a moment ago: without a resourceVersion an API server asks etcd.
func (h *Holder) read(ctx context.Context) error {
	h.fresh = false
	l := &coordinationv1.Lease{}
	err := h.Client.Get().Namespace(h.Namespace).Resource(resource).Name(h.Name).Do(ctx).Into(l)
	switch {
	case apierrors.IsNotFound(err):
		l = nil
	case err != nil:
		return fmt.Errorf("%s: %w", h.path(), err)
	}
	h.learn(l)
	return nil
}

// write stores l if what is known is still so. Whether an error kept it from being stored is not known.
func (h *Holder) write(ctx context.Context, l *coordinationv1.Lease) error {
	h.fresh = false
	request := h.Client.Post().Namespace(h.Namespace).Resource(resource)
	if l.ResourceVersion != "" {
		request = h.Client.Put().Namespace(h.Namespace).Resource(resource).Name(h.Name)
	}
	stored := &coordinationv1.Lease{}
	if err := request.Param("fieldManager", fieldManager).Body(l).Do(ctx).Into(stored); err != nil {
		return fmt.Errorf("%s: %w", h.path(), err)
	}
	h.learn(stored)
	return nil
}

// learn takes over what is stored.
func (h *Holder) learn(l *coordinationv1.Lease) {
	if !sameTerm(h.known, l) {
		h.seen = time.Now()
	}
	h.known, h.fresh = l, true
}
