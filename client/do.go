package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxAnswer bounds a whole answer: the largest batch's is far below it.
const maxAnswer = 256 << 20

// lenient reads what passes through the service unchanged, such as a tool's output.
var lenient = json.JoinOptions(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))

// Do makes a call for which there is no function here: the body, unless it is nil, is sent
// as JSON, and the answer read into the value that into points to, unless that is nil.
// The path is one of the service, with its query.
func (c *Client) Do(ctx context.Context, method, path string, body, into any, options ...Option) error {
	return c.ask(ctx, method, path, body, into, newCall(options))
}

func (c *Client) ask(ctx context.Context, method, path string, body, into any, o *call) error {
	response, err := c.send(ctx, method, path, body, o)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	limited := io.LimitReader(response.Body, maxAnswer)
	if into == nil {
		_, err = io.Copy(io.Discard, limited)
	} else {
		err = json.UnmarshalRead(limited, into, lenient)
	}
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("read the answer to %s %s: %w", method, strings.SplitN(path, "?", 2)[0], err)
	}
	return nil
}

// send makes a call, again where the service refuses it for now. The answer's body is the
// caller's to close.
func (c *Client) send(ctx context.Context, method, path string, body any, o *call) (*http.Response, error) {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("write the request: %w", err)
		}
	}
	for attempt := 0; ; attempt++ {
		response, err := c.try(ctx, method, path, text, o)
		if err != nil {
			return nil, err
		}
		if o.meta != nil {
			o.meta.header(response)
		}
		if response.StatusCode < http.StatusMultipleChoices || response.StatusCode == o.accept {
			return response, nil
		}
		e := errorOf(response)
		_ = response.Body.Close()
		if attempt >= c.retries || !o.mayPass(e, response.Header) {
			return nil, e
		}
		if !pause(ctx, waitFor(e, attempt)) {
			return nil, e
		}
	}
}

// try makes one request.
func (c *Client) try(ctx context.Context, method, path string, text []byte, o *call) (*http.Response, error) {
	var reader io.Reader = http.NoBody
	if text != nil {
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base.String()+path, reader)
	if err != nil {
		return nil, err
	}
	for name, values := range o.header {
		request.Header[name] = values
	}
	if text != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		request.Header.Set("X-Api-Key", c.key)
	}
	response, err := c.http.Do(request)
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return response, err
}

// mayPass says whether a refusal passes by itself.
func (o *call) mayPass(e *Error, header http.Header) bool {
	switch {
	case header.Get("X-Should-Retry") == "false":
		return false
	case e.Status == http.StatusTooManyRequests, e.Status == http.StatusServiceUnavailable:
		return e.Category != CategoryBudgetExceeded || e.RetryAfter > 0 // one that is only held comes back soon
	}
	return o.once && e.Code == "idempotency_in_progress"
}

// How long a call waits for its next attempt where the service says nothing.
const (
	firstWait = 500 * time.Millisecond
	mostWait  = 30 * time.Second
)

func waitFor(e *Error, attempt int) time.Duration {
	if e.RetryAfter > 0 {
		return e.RetryAfter
	}
	return min(firstWait<<min(attempt, 10), mostWait)
}

// pause waits, unless the context ends before that or at once.
func pause(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// header fills in what an answer's header says.
func (m *Meta) header(response *http.Response) {
	h := response.Header
	*m = Meta{
		Status: response.StatusCode, RequestID: h.Get("X-Request-ID"), Backend: h.Get("X-Claude-Backend"), Warnings: h.Get("X-Claude-Warnings"),
		Replayed: h.Get("Idempotent-Replayed") == "true",
	}
	m.stages(h)
}

// stages reads Server-Timing, of a header or a trailer.
func (m *Meta) stages(h http.Header) {
	for _, line := range h.Values("Server-Timing") {
		for entry := range strings.SplitSeq(line, ",") {
			name, parameters, _ := strings.Cut(entry, ";")
			for parameter := range strings.SplitSeq(parameters, ";") {
				text, isLong := strings.CutPrefix(strings.TrimSpace(parameter), "dur=")
				ms, err := strconv.ParseFloat(text, 64)
				if !isLong || err != nil {
					continue
				}
				if m.Stages == nil {
					m.Stages = map[string]time.Duration{}
				}
				m.Stages[strings.TrimSpace(name)] = seconds(ms / 1e3)
			}
		}
	}
}

// isRefusal says whether an error is the service's answer.
func isRefusal(err error) (*Error, bool) {
	var e *Error
	return e, errors.As(err, &e)
}
