package protocol_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
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
