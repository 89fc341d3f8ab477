package httpserver

import (
	"errors"
	"net/http"
	"time"
)

// recorder notes what an answer is, and gives each write of it its deadline.
// http.ResponseController finds everything else that the writer below can do
// through Unwrap.
type recorder struct {
	http.ResponseWriter
	server *Server
	secure bool // TLS
	// deadlines is the writer below, nil where it has none, as in tests.
	deadlines interface {
		SetReadDeadline(at time.Time) error
		SetWriteDeadline(at time.Time) error
	}
	// momentary says that a write's deadline must not outlive it: one of HTTP/2 that
	// passes resets the stream, also between two writes.
	momentary bool
	deadline  time.Time

	status int // 0: nothing was sent
	bytes  int64
	// Whose the request is; "": nobody's, as far as it is known.
	keyID, projectID string
}

// Caller notes whose the request is, for the log.
func (r *recorder) Caller(keyID, projectID string) { r.keyID, r.projectID = keyID, projectID }

func newRecorder(s *Server, w http.ResponseWriter, r *http.Request) *recorder {
	rec := &recorder{ResponseWriter: w, server: s, secure: r.TLS != nil, momentary: r.ProtoMajor > 1}
	rec.deadlines, _ = w.(interface {
		SetReadDeadline(at time.Time) error
		SetWriteDeadline(at time.Time) error
	})
	if rec.deadlines == nil {
		return rec
	}
	if r.ContentLength != 0 {
		// Who reads the body sets others. When nobody does, net/http does at the end,
		// before the answer leaves, and would wait without end.
		_ = rec.deadlines.SetReadDeadline(time.Now().Add(s.options.ReadHeaderTimeout))
	}
	if !rec.momentary {
		rec.extend() // that of the former answer on this connection may have passed
	}
	return rec
}

// maxPiece is how much of an answer is written under one deadline: a caller who
// takes less than a piece in that time is cut.
const maxPiece = 64 << 10

// extend moves the write deadline on. Once in a while is enough, so that a fast
// stream doesn't pay for it with every event.
func (r *recorder) extend() {
	if r.deadlines == nil {
		return
	}
	timeout := r.server.options.WriteTimeout
	if now := time.Now(); r.momentary || r.deadline.Sub(now) < timeout-min(time.Second, timeout/8) {
		r.deadline = now.Add(timeout)
		_ = r.deadlines.SetWriteDeadline(r.deadline) // fails on a connection that is closed
	}
}

// written ends the deadline of a write where it must not stay.
func (r *recorder) written() {
	if r.momentary && r.deadlines != nil {
		_ = r.deadlines.SetWriteDeadline(time.Time{})
	}
}

// WriteHeader notes the status, but not an informational one, which precedes it.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && (status >= http.StatusOK || status == http.StatusSwitchingProtocols) {
		r.status = status
		if status >= http.StatusOK && r.server.isLeaving() {
			r.Header()["Connection"] = []string{"close"}
		}
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (written int, err error) {
	r.begin()
	for {
		piece := b[written:min(len(b), written+maxPiece)]
		r.extend()
		n, err := r.ResponseWriter.Write(piece)
		r.written()
		written += n
		r.bytes += int64(n)
		if err != nil || written >= len(b) {
			return written, err
		}
	}
}

// begin sends the header of an answer that names no status.
func (r *recorder) begin() {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
}

// FlushError is what http.ResponseController calls. A flush sends the header.
func (r *recorder) FlushError() error {
	r.begin()
	r.extend()
	defer r.written()
	switch w := r.ResponseWriter.(type) {
	case interface{ FlushError() error }:
		return w.FlushError()
	case http.Flusher:
		w.Flush()
		return nil
	}
	return errors.ErrUnsupported
}

// Flush is for code that asks for a http.Flusher.
func (r *recorder) Flush() { _ = r.FlushError() }

// Unwrap is what http.ResponseController looks for.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
