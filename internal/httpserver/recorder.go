package httpserver

import (
	"errors"
	"net/http"
)

// recorder notes what an answer is. http.ResponseController finds everything
// else that the writer below can do through Unwrap.
type recorder struct {
	http.ResponseWriter
	status int // 0: nothing was sent
	bytes  int64
}

// WriteHeader notes the status, but not an informational one, which precedes it.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && (status >= http.StatusOK || status == http.StatusSwitchingProtocols) {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// FlushError is what http.ResponseController calls. A flush sends the header.
func (r *recorder) FlushError() error {
	if r.status == 0 {
		r.status = http.StatusOK
	}
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
