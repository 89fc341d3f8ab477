package protocol

import (
	"net/http"
	"sync"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/sse"
)

// Stream writes an event stream to a caller. One goroutine uses it; between its
// writes a timer's may write a heartbeat.
type Stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	header  func(h http.Header, call *gateway.Call)

	mu      sync.Mutex // of what follows
	started bool
	pending bool      // written and not yet flushed
	last    time.Time // of the last write
	heartbeat
}

// NewStream makes a Stream; nothing is sent before the first Write or heartbeat.
// header sets what the caller's family says of a call, SetHeader's part included.
// The server below bounds how long a write may take.
func NewStream(w http.ResponseWriter, header func(h http.Header, call *gateway.Call)) *Stream {
	return &Stream{w: w, control: http.NewResponseController(w), header: header}
}

// Start sends the header if it hasn't left: 200, an event stream that no proxy
// may buffer, and the trailer that brings the stages which aren't known yet.
func (s *Stream) Start(call *gateway.Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.start(call, trailer)
}

// The trailers of a stream, and of one whose header left before the answer began.
var (
	trailer      = []string{HeaderServerTiming}
	earlyTrailer = []string{HeaderServerTiming + ", " + HeaderWarnings + ", " + HeaderFallback}
)

func (s *Stream) start(call *gateway.Call, trailer []string) {
	if s.started {
		return
	}
	s.started = true
	h := s.w.Header()
	s.header(h, call)
	h["Content-Type"] = []string{sse.ContentType}
	if h["Cache-Control"] == nil { // whoever has said no-store meant it
		h["Cache-Control"] = []string{"no-cache"}
	}
	h["X-Accel-Buffering"] = []string{"no"}
	h["Trailer"] = trailer
	s.w.WriteHeader(http.StatusOK)
}

// Started says whether the header has left, so that an error can no longer
// have a status of its own.
func (s *Stream) Started() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started
}

// Write takes one or more whole frames. They leave with the next Flush. An
// error says that the caller left.
func (s *Stream) Write(frames []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = time.Now()
	s.pending = true
	_, err := s.w.Write(frames)
	return writeError(err)
}

// Flush sends what was written. An error says that the caller left.
func (s *Stream) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.pending {
		return nil
	}
	s.pending = false
	return writeError(s.control.Flush())
}

// Close sends the last bytes and, as a trailer, all stages of the call. Where the
// answer is kept for an Idempotency-Key, it is kept before; an error then says that
// it couldn't be. No heartbeat follows.
func (s *Stream) Close(call *gateway.Call) error {
	s.beQuiet()
	call.Clock.Finish()
	h := s.w.Header()
	h[HeaderServerTiming] = []string{serverTiming(call)}
	if s.early && len(call.Warnings) > 0 {
		h[HeaderWarnings] = []string{warningLine(call.Warnings)}
	}
	if fallback := call.Fallback(); s.early && fallback != "" {
		h[HeaderFallback] = []string{fallback}
	}
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
