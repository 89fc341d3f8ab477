package protocol

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"claude-code-api-service/internal/apierror"
)

// DefaultBodyLimit is the largest request body that is read when an operator
// says nothing: 32 MiB, the Messages API's own limit.
const DefaultBodyLimit = 32 << 20

// chunkedBuffer is the first buffer for a body of unknown length.
const chunkedBuffer = 8 << 10

// ReadBody reads the whole body of a request of at most limit bytes (zero means
// DefaultBodyLimit) into one buffer, which then belongs to the caller. A body
// that says that it is larger is refused before a byte of it is read.
//
// Any Content-Type is accepted, because clients differ (curl -d says that it
// sends a form) and only JSON gets past the decoder anyway. That opens nothing
// to a browser's cross-site form: the key travels in a header that no form sets.
// A Content-Encoding is refused: a compressed body has no honest size.
//
// One that nests deeper than maxDepth is refused. An error is an apierror.Error.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if read, ok := r.Body.(*readBody); ok {
		return read.body, nil
	}
	if limit <= 0 {
		limit = DefaultBodyLimit
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, apierror.Invalid("Content-Encoding", "Content-Encoding: a compressed body isn't accepted")
	}
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	src := http.MaxBytesReader(w, &patientReader{body: r.Body, control: *http.NewResponseController(w)}, limit)
	if r.ContentLength >= 0 {
		body := make([]byte, r.ContentLength)
		if _, err := io.ReadFull(src, body); err != nil {
			return nil, readError(r, err, limit)
		}
		return body, Shallow(body)
	}
	body := make([]byte, 0, chunkedBuffer)
	for {
		if len(body) == cap(body) {
			grown := make([]byte, len(body), 2*cap(body))
			copy(grown, body)
			body = grown
		}
		n, err := src.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			return body, Shallow(body)
		}
		if err != nil {
			return nil, readError(r, err, limit)
		}
	}
}

// WithBody gives a copy of the request under a context, with a body that was read
// already: ReadBody gives it away without another copy, once.
func WithBody(ctx context.Context, r *http.Request, body []byte) *http.Request {
	r = r.WithContext(ctx)
	r.Body = &readBody{Reader: *bytes.NewReader(body), body: body}
	return r
}

// readBody is a request's body that was read before.
type readBody struct {
	bytes.Reader
	body []byte
}

func (*readBody) Close() error { return nil }

// A body may come slowly, but not without end: whoever sends a byte now and then
// would hold a connection and a buffer for as long as it likes.
const (
	// readPause is how long a caller may take between two pieces of its body, and
	// for the first leastRate bytes.
	readPause = 60 * time.Second
	// leastRate is how many bytes a second must have come on average after that: a
	// tenth of what a modem brought.
	leastRate = 512
)

// patientReader reads a body as long as it goes on arriving.
type patientReader struct {
	body    io.ReadCloser
	control http.ResponseController
	started time.Time
	got     int64
}

func (p *patientReader) Read(b []byte) (int, error) {
	now := time.Now()
	if p.got == 0 {
		p.started = now
	}
	deadline := now.Add(readPause)
	if least := p.started.Add(readPause + time.Duration(p.got)*time.Second/leastRate); least.Before(deadline) {
		deadline = least
	}
	// A writer that has no deadlines, as in tests, does without.
	_ = p.control.SetReadDeadline(deadline)
	n, err := p.body.Read(b)
	p.got += int64(n)
	if err == nil || errors.Is(err, io.EOF) {
		_ = p.control.SetReadDeadline(time.Time{})
	}
	// Otherwise it stays: net/http reads what is left of a body before it answers.
	return n, err
}

func (p *patientReader) Close() error { return p.body.Close() }

func tooLarge(limit int64) error {
	return &apierror.Error{
		Category: apierror.BadRequest, Code: apierror.CodeTooLarge,
		Message: fmt.Sprintf("the request body is larger than the limit of %d bytes", limit),
	}
}

func readError(r *http.Request, err error, limit int64) error {
	var maxBytes *http.MaxBytesError
	switch {
	case errors.As(err, &maxBytes):
		return tooLarge(limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return apierror.Wrap(apierror.Timeout, "the request body took too long to arrive", err)
	case r.Context().Err() != nil, errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return apierror.Wrap(apierror.ClientClosed, "the caller left before the request body was complete", err)
	}
	// What is left is malformed chunking and a connection that broke.
	return apierror.Wrap(apierror.BadRequest, "the request body couldn't be read", err)
}
