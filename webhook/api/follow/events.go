package follow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/watch"
)

// Why a stream was cancelled.
var (
	errClosed = errors.New("closed")
	errLife   = errors.New("the API server did not end the watch at its time")
	errStall  = errors.New("the API server stands still")
	errAtOnce = errors.New("the API server ended the watch at once")
)

// roomy is how large a stream's buffers may stay after an event, in bytes. Whoever may create pods can make one of a
// megabyte, and a stream lives for minutes.
const roomy = 64 << 10

// atOnce is how short a watch is that must not be followed by the next without a pause.
const atOnce = time.Second

// events reads the events of one watch. It is the watch.Decoder of a StreamWatcher, which reads it in a goroutine of its
// own until Close.
type events[T Object] struct {
	decoder[T]
	limits
	what   string // the resource
	step   *step[T]
	run    context.Context // of Run
	stream context.Context // of the request; its cause says why it ended
	cancel context.CancelCauseFunc
	began  time.Time
	life   *time.Timer // ends the stream
	stall  *time.Timer // ends a beginning that stands still
	body   io.ReadCloser

	// Of Decode:
	beginning bool // what comes is the state that the stream begins with
	json      *json.Decoder
	rest      io.Reader // what json reads
	raw       json.RawMessage
	over      bool // its end has been told
}

// Close implements watch.Decoder. It may come while Decode works.
func (e *events[T]) Close() {
	e.cancel(errClosed)
	e.life.Stop()
	e.stall.Stop()
	if e.body != nil {
		e.body.Close()
	}
}

// cause gives the reason of an error that is only the end of the stream's context.
func (e *events[T]) cause(err error) error {
	if cause := context.Cause(e.stream); cause != nil && e.run.Err() == nil {
		return cause
	}
	return err
}

// Decode implements watch.Decoder. The end of the stream, in whatever way, is io.EOF to the Reflector: it goes on where
// it was.
func (e *events[T]) Decode() (watch.EventType, runtime.Object, error) {
	for {
		e.shrink()
		event := struct {
			Type   watch.EventType `json:"type"`
			Object json.RawMessage `json:"object"`
		}{Object: e.raw[:0]}
		if err := e.json.Decode(&event); err != nil {
			e.end(err)
			return "", nil, io.EOF
		}
		e.raw = event.Object
		if e.beginning {
			e.stall.Reset(e.answer)
			if e.stream.Err() != nil {
				e.stall.Stop() // Close may have stopped it before that
			}
		}
		switch event.Type {
		case watch.Bookmark:
			return e.bookmark(event.Object)
		case watch.Error:
			status := &metav1.Status{}
			if err := utiljson.Unmarshal(event.Object, status); err != nil {
				status.Message = fmt.Sprintf("unreadable error event: %v", err)
			}
			e.end(apierrors.FromObject(status))
			return watch.Error, status, nil
		case watch.Added, watch.Modified, watch.Deleted:
			o, err := e.decode(event.Object)
			if err == nil {
				return event.Type, o, nil
			}
			e.log.WithError(err).Warn("an event whose object cannot be read is passed over")
		default:
			e.log.WithField("type", event.Type).Warn("an event of an unknown type is passed over")
		}
	}
}

// read makes r what comes.
func (e *events[T]) read(r io.Reader) { e.json, e.rest = json.NewDecoder(r), r }

// shrink gives back the buffers of an event that was large.
func (e *events[T]) shrink() {
	if cap(e.raw) > roomy {
		e.raw = nil
		e.read(io.MultiReader(e.json.Buffered(), e.rest))
	}
}

func (e *events[T]) bookmark(raw []byte) (watch.EventType, runtime.Object, error) {
	b := &metav1.PartialObjectMetadata{}
	if err := utiljson.Unmarshal(raw, b); err != nil {
		e.end(fmt.Errorf("bookmark: %w", err))
		return "", nil, io.EOF
	}
	if e.beginning && b.Annotations[metav1.InitialEventsAnnotationKey] == "true" {
		e.stall.Stop()
		e.beginning = false
	}
	return watch.Bookmark, b, nil
}

// end tells how the stream ended, unless it was by our own hand.
func (e *events[T]) end(err error) {
	err = e.cause(err)
	switch {
	case e.over: // an error event is followed by the end of the stream
		return
	case e.run.Err() != nil || errors.Is(err, errClosed):
		return
	case errors.Is(err, io.EOF) && time.Since(e.began) < atOnce:
		err = errAtOnce
	case errors.Is(err, io.EOF):
		err = nil // as the server ends each watch after a while
	}
	if err != nil {
		err = fmt.Errorf("watch %s: %w", e.what, err)
	}
	e.over = true
	e.step.ended(err)
}
