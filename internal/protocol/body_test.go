package protocol_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/protocol"
)

// deadlines is a ResponseWriter that notes its read deadlines.
type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

func TestABodyMustGoOnArriving(t *testing.T) {
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	started := time.Now()
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"a":1}`))
	if body, err := protocol.ReadBody(w, r, 0); err != nil || string(body) != `{"a":1}` {
		t.Fatalf("%s, %v", body, err)
	}
	if len(w.set) < 2 || w.set[0].Before(started.Add(30*time.Second)) || !w.set[len(w.set)-1].IsZero() {
		t.Errorf("read deadlines: %v", w.set)
	}
}

// stalled is a body whose deadline passes.
type stalled struct{}

func (stalled) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

func TestABodyThatStalls(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/", io.NopCloser(stalled{}))
	r.ContentLength = 10
	_, err := protocol.ReadBody(httptest.NewRecorder(), r, 0)
	var e *apierror.Error
	if !errors.As(err, &e) || e.Category != apierror.Timeout {
		t.Errorf("err = %v", err)
	}
}

func TestDocumentIsTheWholeBody(t *testing.T) {
	for doc, whole := range map[string]bool{
		`{}`: true, " {} \n": true, `{},{}`: false, `{}: x`: false, "{}\x00": false, `{}{}`: false, `{} x`: false,
	} {
		err := protocol.NewScanner([]byte(doc)).Document(func([]byte) error { return nil })
		if (err == nil) != whole {
			t.Errorf("%q: %v", doc, err)
		}
	}
}

// drip is a body of which a byte comes every so often. Its clock is the bubble's.
type drip struct {
	*deadlines
	every time.Duration
}

func (d drip) Read(b []byte) (int, error) {
	if deadline := d.set[len(d.set)-1]; time.Until(deadline) < d.every {
		time.Sleep(max(0, time.Until(deadline)))
		return 0, os.ErrDeadlineExceeded
	}
	time.Sleep(d.every)
	b[0] = ' '
	return 1, nil
}

// One byte every 59 seconds, and one a second, would hold a connection for ever.
func TestABodyOfOneByteAtATime(t *testing.T) {
	for _, every := range []time.Duration{time.Second, 59 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
			r := httptest.NewRequest(http.MethodPost, "/", io.NopCloser(drip{w, every}))
			r.ContentLength = 1 << 20
			started := time.Now()
			_, err := protocol.ReadBody(w, r, 0)
			var e *apierror.Error
			if !errors.As(err, &e) || e.Category != apierror.Timeout {
				t.Errorf("err = %v", err)
			}
			if took := time.Since(started); took > 2*time.Minute {
				t.Errorf("a byte every %v was read for %v", every, took)
			}
			// net/http reads on, before it answers, under what was set last.
			if last := w.set[len(w.set)-1]; last.IsZero() || last.After(time.Now()) {
				t.Errorf("the last deadline is %v", last)
			}
		})
	}
}

// A line of 1 KiB a second is slow, and welcome.
func TestASlowBodyIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		r := httptest.NewRequest(http.MethodPost, "/", io.NopCloser(drip{w, time.Second / 1024}))
		r.ContentLength = 512 << 10
		if body, err := protocol.ReadBody(w, r, 0); err != nil || len(body) != 512<<10 {
			t.Errorf("%d bytes, %v", len(body), err)
		}
	})
}
