package engine

import (
	"context"
	"io"
	"time"

	"github.com/sirupsen/logrus"
)

// Result says how a request ended.
type Result string

// Results of CreateContainer; ResultOK is that of Synchronize.
const (
	ResultPlain    Result = "plain"    // none of ours, passed
	ResultAdjusted Result = "adjusted" // ours, granted
	ResultRefused  Result = "refused"  // the Adjuster said no
	ResultTimeout  Result = "timeout"  // refused: no answer by our own deadline
	ResultPanic    Result = "panic"    // refused: the Adjuster panicked
	ResultBusy     Result = "busy"     // refused: too many Adjust calls hang, or we are stopping
	ResultOK       Result = "ok"
)

// Names of the requests.
const (
	EventCreateContainer = "CreateContainer"
	EventSynchronize     = "Synchronize"
)

// Observer counts. Its methods are called in the middle of a request, for plain containers too, from several
// goroutines: they must not block or allocate.
type Observer interface {
	ObserveRequest(event string, result Result, took time.Duration)
	ObserveReconnect()
}

type nopObserver struct{}

func (nopObserver) ObserveRequest(string, Result, time.Duration) {}
func (nopObserver) ObserveReconnect()                            {}

// stubLogger gives the NRI stub's lines to our log, for debugging: they repeat with each attempt what the engine says
// once, and its errors come back from Start too.
type stubLogger struct{ log logrus.FieldLogger }

func (l stubLogger) Debugf(_ context.Context, format string, args ...any) {
	l.log.Debugf("nri: "+format, args...)
}

func (l stubLogger) Infof(_ context.Context, format string, args ...any) {
	l.log.Debugf("nri: "+format, args...)
}

func (l stubLogger) Warnf(_ context.Context, format string, args ...any) {
	l.log.Debugf("nri: "+format, args...)
}

func (l stubLogger) Errorf(_ context.Context, format string, args ...any) {
	l.log.Debugf("nri: "+format, args...)
}

func discardLogger() logrus.FieldLogger {
	l := logrus.New()
	l.SetOutput(io.Discard)
	l.SetLevel(logrus.PanicLevel)
	return l
}
