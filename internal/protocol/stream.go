package protocol

import (
	"net/http"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/sse"
)

// stallLimit is how long one write to a caller may take before the caller
// counts as gone. It bounds how long somebody who stops reading can hold a
// worker; a slow reader that takes a packet now and then isn't hurt.
const stallLimit = 60 * time.Second

// Stream writes an event stream to a caller. One goroutine uses it.
type Stream struct {
	w        http.ResponseWriter
	control  *http.ResponseController
	started  bool
	pending  bool // written and not yet flushed
	deadline time.Time
}

// NewStream makes a Stream; nothing is sent before the first Write.
func NewStream(w http.ResponseWriter) *Stream {
	return &Stream{w: w, control: http.NewResponseController(w)}
}

// Start sends the header if it hasn't left: 200, an event stream that no proxy
// may buffer, and the trailer that brings the stages which aren't known yet.
// What the caller's family adds must be in w.Header() by then.
func (s *Stream) Start(call *gateway.Call) {
	if s.started {
		return
	}
	s.started = true
	h := s.w.Header()
	SetHeader(h, call)
	h["Content-Type"] = []string{sse.ContentType}
	h["Cache-Control"] = []string{"no-cache"}
	h["X-Accel-Buffering"] = []string{"no"}
	h["Trailer"] = []string{HeaderServerTiming}
	s.w.WriteHeader(http.StatusOK)
}

// Started says whether the header has left, so that an error can no longer
// have a status of its own.
func (s *Stream) Started() bool { return s.started }

// Write takes one or more whole frames. They leave with the next Flush. An
// error says that the caller left.
func (s *Stream) Write(frames []byte) error {
	s.extend()
	s.pending = true
	_, err := s.w.Write(frames)
	return writeError(err)
}

// Flush sends what was written. An error says that the caller left.
func (s *Stream) Flush() error {
	if !s.pending {
		return nil
	}
	s.pending = false
	return writeError(s.control.Flush())
}

// extend moves the write deadline on. Once in a while is enough, so that a
// fast stream doesn't pay for it with every event.
func (s *Stream) extend() {
	if now := time.Now(); s.deadline.Sub(now) < stallLimit-time.Second {
		s.deadline = now.Add(stallLimit)
		// A writer without deadlines (a test's recorder) does without.
		_ = s.control.SetWriteDeadline(s.deadline)
	}
}

// Close sends the last bytes and, as a trailer, all stages of the call. Where the
// answer is kept for an Idempotency-Key, it is kept before; an error then says that
// it couldn't be.
func (s *Stream) Close(call *gateway.Call) error {
	call.Clock.Finish()
	s.w.Header()[HeaderServerTiming] = []string{serverTiming(call)}
	if kept, ok := s.w.(KeptWriter); ok {
		return kept.Complete()
	}
	return s.Flush()
}

func writeError(err error) error {
	if err == nil {
		return nil
	}
	return apierror.Wrap(apierror.ClientClosed, "the caller left", err)
}
