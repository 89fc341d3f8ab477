package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/sse"
)

const (
	// maxEvent bounds one event: the last one of a task holds its whole log.
	maxEvent = 64 << 20
	// silence is how long a stream may say nothing, not even a heartbeat, which come
	// every 15 seconds, before its connection counts as lost.
	silence = time.Minute
)

// frame is one event of a stream.
type frame struct {
	id    int64 // 0: it has none
	event []byte
	data  []byte
}

// events are a stream of events that is read. It isn't safe for concurrent use.
type events struct {
	ctx      context.Context
	cancel   context.CancelCauseFunc
	response *http.Response
	reader   *sse.Reader
	timer    *time.Timer
	meta     *Meta
}

var errSilent = fmt.Errorf("nothing has come for %s, not even a heartbeat", silence)

// open makes a call that is answered by a stream. Close must be called.
func (c *Client) open(ctx context.Context, method, path string, body any, o *call) (*events, error) {
	e := &events{meta: o.meta}
	e.ctx, e.cancel = context.WithCancelCause(ctx)
	response, err := c.send(e.ctx, method, path, body, o) //nolint:bodyclose // close does
	if err != nil {
		e.cancel(nil)
		return nil, err
	}
	e.response = response
	if kind, _, _ := strings.Cut(response.Header.Get("Content-Type"), ";"); kind != sse.ContentType {
		e.close()
		return nil, fmt.Errorf("%s %s is answered with %q, not with events", method, strings.SplitN(path, "?", 2)[0], kind)
	}
	e.timer = time.AfterFunc(silence, func() { e.cancel(errSilent) })
	e.reader = sse.NewReader(&watched{response.Body, e.timer}, maxEvent)
	return e, nil
}

// watched has a timer run while it is read from. What its reader does between two events
// is no silence of the service's.
type watched struct {
	io.Reader
	timer *time.Timer
}

func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(silence)
	defer w.timer.Stop()
	return w.Reader.Read(p)
}

// next gives the next event, valid until the following call. At the stream's end, however
// it came, the error is ErrCut: who has read the last event doesn't ask for more.
func (e *events) next() (frame, error) {
	read, err := e.reader.Next()
	switch {
	case err == nil:
		id, _ := strconv.ParseInt(string(read.ID), 10, 64)
		return frame{id, read.Event, read.Data}, nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return frame{}, ErrCut
	case errors.Is(err, sse.ErrTooLarge):
		return frame{}, fmt.Errorf("read the stream: %w", err)
	case context.Cause(e.ctx) != nil:
		return frame{}, context.Cause(e.ctx)
	}
	return frame{}, fmt.Errorf("%w: %w", ErrCut, err)
}

// finishFor is how long a stream may stay open behind its last event.
const finishFor = 5 * time.Second

// finish reads to the stream's end behind its last event: then the service knows that what
// was told of has ended, and the trailer is there.
func (e *events) finish() {
	defer time.AfterFunc(finishFor, func() { e.cancel(nil) }).Stop()
	for {
		_, err := e.reader.Next()
		if errors.Is(err, io.EOF) && e.meta != nil {
			e.meta.stages(e.response.Trailer)
		}
		if err != nil {
			return
		}
	}
}

func (e *events) close() {
	if e.timer != nil {
		e.timer.Stop()
	}
	e.cancel(nil)
	_ = e.response.Body.Close()
}

// decodeEvent reads the data of an event.
func decodeEvent(data []byte, into any) error {
	if err := json.Unmarshal(data, into, lenient); err != nil {
		return fmt.Errorf("read an event: %w", err)
	}
	return nil
}

// told adds to an error of the stream which request it was.
func (e *events) told(err error) error {
	if own, ok := isRefusal(err); ok && own.RequestID == "" {
		own.RequestID = e.response.Header.Get("X-Request-ID")
	}
	return err
}
