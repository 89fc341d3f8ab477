package idempotency

import (
	"net/http"
)

// maxAnswer is the largest body that is kept. Answers are well under 1 MiB, those
// of batches of a hundred prompts too; and a running request holds that much.
const maxAnswer = 8 << 20

// writer passes an answer on and holds what is to be kept of it. What was written
// and not flushed waits. That the caller has left changes nothing for who writes:
// the answer is for the next one that asks. It belongs to the goroutine that serves
// the request.
type writer struct {
	http.ResponseWriter
	control *http.ResponseController
	// keep is called once, when the answer is complete.
	keep func(w *writer) error
	// lost says why an answer that failed anyway couldn't be kept.
	lost error

	status   int         // 0: nothing was written
	kept     http.Header // what of the header is kept, as it was by then
	body     []byte
	sent     int  // of body
	large    bool // body holds only what wasn't sent
	begun    bool // the header has left
	left     bool // the caller has
	complete bool
}

func newWriter(w http.ResponseWriter, keep func(w *writer) error) *writer {
	return &writer{ResponseWriter: w, control: http.NewResponseController(w), keep: keep}
}

// Unwrap is what http.ResponseController looks for.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(status int) {
	if w.status != 0 || status < http.StatusOK {
		return
	}
	w.status, w.kept = status, keptHeader(w.Header())
}

// Write implements http.ResponseWriter. It never fails.
func (w *writer) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.body = append(w.body, b...)
	if !w.large && len(w.body) > maxAnswer {
		w.large, w.body, w.sent = true, w.body[w.sent:], 0
	}
	return len(b), nil
}

// FlushError is what http.ResponseController calls. It never fails.
func (w *writer) FlushError() error {
	w.WriteHeader(http.StatusOK)
	if !w.begun {
		w.begun = true
		w.ResponseWriter.WriteHeader(w.status)
	}
	if rest := w.body[w.sent:]; !w.left && len(rest) > 0 {
		_, err := w.ResponseWriter.Write(rest)
		w.left = err != nil
	}
	if w.sent = len(w.body); w.large {
		w.body, w.sent = nil, 0
	}
	if !w.left {
		// A writer that can't be flushed sends at the end.
		_ = w.control.Flush()
	}
	return nil
}

// Complete implements protocol.KeptWriter.
func (w *writer) Complete() error {
	if w.complete {
		return nil
	}
	w.complete = true
	err := w.keep(w)
	if err != nil {
		w.body = w.body[:w.sent]
	}
	return err
}
