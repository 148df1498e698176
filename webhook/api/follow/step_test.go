package follow

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	logrustest "github.com/sirupsen/logrus/hooks/test"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	v2 "github.com/inlay-project/inlay/webhook/api/v2"
)

// deaf is a handler that does nothing.
type deaf struct{}

func (deaf) Replace([]v2.Object)   {}
func (deaf) Upsert(v2.Object)      {}
func (deaf) Delete(string, string) {}
func (deaf) InStep(time.Time)      {}
func (deaf) Away(error)            {}

func TestTheFirstWaitIsShortAndFurtherOnesGrow(t *testing.T) {
	away, expired := errors.New("away"), apierrors.NewResourceExpired("too old resource version")
	fails := func(s *step[v2.Object], err error) { s.ended(err) }
	lasts := func(d time.Duration, err error) func(s *step[v2.Object], _ error) {
		return func(s *step[v2.Object], _ error) {
			s.opened()
			time.Sleep(d)
			s.ended(err)
		}
	}
	for name, c := range map[string]struct {
		streams []func(s *step[v2.Object], err error)
		most    time.Duration // of the wait after them; half of it is the least
	}{
		"a first break":                     {[]func(*step[v2.Object], error){lasts(time.Minute, io.ErrUnexpectedEOF)}, usual.first},
		"a second one":                      {[]func(*step[v2.Object], error){fails, fails}, 2 * usual.first},
		"a long time":                       {[]func(*step[v2.Object], error){fails, fails, fails, fails, fails, fails, fails, fails, fails, fails}, usual.last},
		"a short stream is no mending":      {[]func(*step[v2.Object], error){fails, fails, lasts(time.Second, away)}, 4 * usual.first},
		"a good stream is":                  {[]func(*step[v2.Object], error){fails, fails, lasts(time.Minute, away)}, usual.first},
		"also if the server ended it":       {[]func(*step[v2.Object], error){fails, fails, lasts(time.Minute, nil), fails}, usual.first},
		"a history forgotten over a break":  {[]func(*step[v2.Object], error){fails, lasts(0, expired)}, usual.first},
		"a history forgotten over and over": {[]func(*step[v2.Object], error){fails, lasts(0, expired), lasts(0, expired)}, 2 * usual.first},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, _ := logrustest.NewNullLogger()
				s := &step[v2.Object]{handler: deaf{}, log: log, limits: usual}
				for _, stream := range c.streams {
					stream(s, away)
				}
				began := time.Now()
				if err := s.pause(t.Context()); err != nil {
					t.Fatal(err)
				}
				if d := time.Since(began); d < c.most/2 || d > c.most {
					t.Errorf("waited %v, want %v to %v", d, c.most/2, c.most)
				}
			})
		})
	}
}
