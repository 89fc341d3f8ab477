package anthropic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/sse"
)

// attempt is one request to the upstream and the reading of its answer.
type attempt struct {
	*Backend
	caller context.Context // ends when the caller leaves
	ctx    context.Context // ends also when the upstream is silent for too long
	timer  *time.Timer     // ends ctx
	pause  time.Duration   // how long a read may take
	answer io.Reader       // of the upstream
	call   *gateway.Call
	out    gateway.EventWriter
	wrote  bool // something was written to out
}

// try makes one attempt. A failure's retry is false once out has been written.
func (b *Backend) try(ctx context.Context, call *gateway.Call, body pieces, out gateway.EventWriter) (gateway.Result, *failure) {
	within := b.firstByte
	if !streams(call) && !call.CountOnly {
		within = b.firstPlain
	}
	attemptCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a := &attempt{
		Backend: b, caller: ctx, ctx: attemptCtx, pause: b.pause, call: call, out: out,
		timer: time.AfterFunc(within, func() { cancel(errSilent) }),
	}
	defer a.timer.Stop()

	resp, err := b.transport.RoundTrip(b.request(attemptCtx, call, body))
	if err != nil {
		return gateway.Result{}, broken(ctx, attemptCtx, err)
	}
	defer resp.Body.Close()
	a.answer = resp.Body
	call.UpstreamHeader = nil
	if id := resp.Header["Request-Id"]; len(id) > 0 {
		call.UpstreamHeader = http.Header{"Request-Id": id}
	}
	if resp.StatusCode != http.StatusOK {
		return gateway.Result{}, a.refused(resp)
	}

	var summary message.Summary
	var fail *failure
	if streams(call) {
		var written message.Written
		if summary, fail = a.stream(&written); fail != nil {
			written.Estimate(&summary, call.OutputLimit())
		}
	} else {
		summary, fail = a.plain(resp.ContentLength)
	}
	if fail != nil && a.wrote {
		fail.retry = false
	}
	return b.result(call, summary), fail
}

// streams says whether an answer comes as a stream; a count never does.
func streams(call *gateway.Call) bool { return call.Request.Stream && !call.CountOnly }

// result adds the price to a summary. An answer of which nothing was seen has
// none.
func (b *Backend) result(call *gateway.Call, summary message.Summary) gateway.Result {
	result := gateway.Result{Summary: summary}
	if call.CountOnly {
		result.CostMicroUSD = new(int64) // counting is free
		return result
	}
	if summary == (message.Summary{}) {
		return result
	}
	if cost, ok := b.price(or(summary.Model, call.Model), call.Clock.StartTime(), summary.Usage); ok {
		result.CostMicroUSD = &cost
	}
	return result
}

// Read reads the upstream's answer. The timer runs only meanwhile: the time
// that a slow caller takes isn't the upstream's.
func (a *attempt) Read(p []byte) (int, error) {
	a.timer.Reset(a.pause)
	n, err := a.answer.Read(p)
	a.timer.Stop()
	return n, err
}

func (a *attempt) refused(resp *http.Response) *failure {
	body, err := io.ReadAll(io.LimitReader(a, maxErrorBody))
	if err != nil && a.caller.Err() != nil {
		return &failure{err: a.caller.Err()}
	}
	// A body that broke off doesn't change what the status says.
	a.drain()
	f := refused(resp.StatusCode, resp.Header, body)
	if e := apierror.From(f.err); a.login {
		e.Upstream.OurCredential = false
	}
	return f
}

// stream passes the events on as they come.
func (a *attempt) stream(written *message.Written) (message.Summary, *failure) {
	var summary message.Summary
	events := sse.NewReader(a, maxEvent)
	for {
		frame, err := events.Next()
		if err != nil {
			return summary, a.ended(err)
		}
		e := message.Event{Type: eventType(frame), Data: frame.Data, Raw: frame.Raw}
		if e.Type == message.EventError {
			return summary, errorEvent(e.Data)
		}
		if !a.wrote {
			a.call.Clock.Mark(latency.FirstByte)
		}
		if err := summary.Observe(e); err != nil {
			return summary, unreadable(err)
		}
		written.Observe(e)
		a.wrote = true
		if err := a.out.Event(e); err != nil {
			return summary, a.unwritable(err)
		}
		stop := e.Type == message.EventMessageStop
		if stop || !events.Buffered() {
			if err := a.out.Flush(); err != nil {
				return summary, a.unwritable(err)
			}
		}
		if stop {
			a.drain()
			return summary, nil
		}
	}
}

// ended gives the meaning of the end of a stream that came before message_stop.
func (a *attempt) ended(err error) *failure {
	switch {
	case a.ctx.Err() == nil && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
		return &failure{
			err:   apierror.Wrap(apierror.UpstreamError, "the upstream's answer broke off", err),
			retry: true,
		}
	case errors.Is(err, sse.ErrTooLarge):
		return &failure{err: apierror.Wrap(apierror.UpstreamError, "an event of the upstream is too large", err)}
	}
	return broken(a.caller, a.ctx, err)
}

// errorEvent gives the meaning of an error event.
func errorEvent(data []byte) *failure {
	var body errorBody
	_ = json.Unmarshal(data, &body) // an unknown type is an error of the upstream
	return refused(statusOf(body.Error.Type), http.Header{}, bytes.Clone(data))
}

// plain reads the whole answer and passes it on.
func (a *attempt) plain(length int64) (message.Summary, *failure) {
	a.call.Clock.Mark(latency.FirstByte)
	body, err := readAll(a, length)
	switch {
	case errors.Is(err, errTooLarge):
		return message.Summary{}, &failure{err: apierror.Wrap(apierror.UpstreamError, "the upstream's answer is too large", err)}
	case err != nil:
		return message.Summary{}, broken(a.caller, a.ctx, err)
	}
	summary, err := message.Summarize(body)
	if err != nil {
		return message.Summary{}, unreadable(err)
	}
	if a.call.CountOnly {
		summary = message.Summary{} // it isn't an answer, and its numbers aren't what was used
	}
	a.wrote = true
	if err := a.out.Message(body); err != nil {
		return summary, a.unwritable(err)
	}
	return summary, nil
}

var errTooLarge = fmt.Errorf("more than %d bytes", maxAnswer)

// readAll reads a body into one buffer, of the right size when the length is
// known (-1: unknown).
func readAll(src io.Reader, length int64) ([]byte, error) {
	if length > maxAnswer {
		return nil, errTooLarge
	}
	if length >= 0 {
		body := make([]byte, length)
		_, err := io.ReadFull(src, body)
		return body, err
	}
	body, err := io.ReadAll(io.LimitReader(src, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		return nil, errTooLarge
	}
	return body, err
}

// drain reads what follows an answer's end, nothing as a rule, because a
// connection can be used again only when its last answer was read to the end. It
// gives up soon: the caller's last bytes wait for it.
func (a *attempt) drain() {
	a.pause = drainTime
	_, _ = io.Copy(io.Discard, io.LimitReader(a, maxErrorBody))
}

const drainTime = 20 * time.Millisecond

func unreadable(err error) *failure {
	return &failure{err: apierror.Wrap(apierror.UpstreamError, "the upstream's answer can't be read", err)}
}

// unwritable is a failure of the caller's side: most often it left.
func (a *attempt) unwritable(err error) *failure {
	if a.caller.Err() != nil {
		return &failure{err: a.caller.Err()}
	}
	return &failure{err: fmt.Errorf("write the answer: %w", err)}
}

// eventType gives the type of an event without allocating for the known ones.
// Upstreams that leave out the event field name the type in the data.
func eventType(frame sse.Frame) string {
	switch string(frame.Event) {
	case message.EventContentBlockDelta:
		return message.EventContentBlockDelta
	case message.EventContentBlockStart:
		return message.EventContentBlockStart
	case message.EventContentBlockStop:
		return message.EventContentBlockStop
	case message.EventMessageStart:
		return message.EventMessageStart
	case message.EventMessageDelta:
		return message.EventMessageDelta
	case message.EventMessageStop:
		return message.EventMessageStop
	case message.EventPing:
		return message.EventPing
	case message.EventError:
		return message.EventError
	case "":
		var data struct {
			Type string `json:"type"`
		}
		_ = json.Unmarshal(frame.Data, &data)
		return data.Type
	}
	return string(frame.Event)
}
