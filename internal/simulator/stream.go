package simulator

import (
	"net/http"
	"strconv"
	"time"

	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/sse"
)

// sendAt is how much of a stream is gathered before it is written when nothing
// else asks for a write.
const sendAt = 32 << 10

// streaming writes one streamed answer.
type streaming struct {
	*exchange
	d      *directives
	deltas int
}

// stream writes the events of an answer. Those without a wait between them go
// out in one write.
func (x *exchange) stream(a *answer, d *directives) {
	x.s.record.change(func(c *Stats) { c.Streams++ })
	h := x.w.Header()
	h["Content-Type"] = x.s.limits.eventStream
	h["Cache-Control"] = x.s.limits.noCache
	if x.r.ProtoMajor == 1 {
		// Without it net/http would give a short stream a Content-Length, which
		// the API never does.
		h["Transfer-Encoding"] = x.s.limits.chunked
	}
	st := &streaming{exchange: x, d: d}
	x.out = appendMessageStart(x.out, a, x.req.model.of(x.arena))
	for i := range a.content {
		if !st.block(i, &a.content[i]) {
			return
		}
	}
	if st.faultAt(st.deltas + maxTokens) {
		return
	}
	x.out = appendEnd(x.out, a)
	st.write()
}

// block writes one content block and says whether the stream goes on.
func (st *streaming) block(index int, c *content) bool {
	st.out = appendBlockStart(st.out, index, c)
	if index == 0 {
		st.out = appendPing(st.out)
	}
	if c.kind == "tool_use" || c.kind == "server_tool_use" {
		// The API begins a tool's input with an empty piece; it isn't counted as
		// a delta here.
		st.out = appendDelta(st.out, index, c.kind, nil)
	}
	for piece, rest := nextPiece(c.kind, c.text); len(piece) > 0; piece, rest = nextPiece(c.kind, rest) {
		if !st.next() {
			return false
		}
		st.out = appendDelta(st.out, index, c.kind, piece)
	}
	if c.kind == "thinking" {
		if !st.next() {
			return false
		}
		st.out = appendSignature(st.out, index, c.signature)
	}
	if c.citation != nil {
		if !st.next() {
			return false
		}
		st.out = appendCitation(st.out, index, c.citation)
	}
	st.out = appendBlockStop(st.out, index)
	return true
}

// next does what comes before a delta: a fault, a wait, a write.
func (st *streaming) next() bool {
	if st.faultAt(st.deltas) {
		return false
	}
	if st.d.interval > 0 && st.deltas > 0 {
		if !st.flush() || !st.wait(st.d.interval) {
			return false
		}
	}
	st.deltas++
	if len(st.out) >= sendAt {
		return st.write()
	}
	return true
}

// faultAt runs the fault that is due after that many deltas, if there is one,
// and says whether it ended the stream.
func (st *streaming) faultAt(deltas int) bool {
	due := func(after int) bool { return after >= 0 && after <= deltas }
	switch {
	case due(st.d.errorAfter):
		st.out = append(st.out, "event: "+message.EventError+"\ndata: "...)
		st.out = appendError(st.out, errorType(statusOverloaded), errorText(statusOverloaded), "", st.requestID)
		st.out = append(st.out, "\n\n"...)
		st.write()
	case due(st.d.cutAfter):
		if st.flush() {
			panic(http.ErrAbortHandler)
		}
	case due(st.d.hangAfter):
		if st.flush() {
			st.hang()
		}
	default:
		return false
	}
	return true
}

// write hands what is gathered to the server and says whether the client is
// still there.
func (st *streaming) write() bool {
	_, err := st.w.Write(st.out)
	st.out = st.out[:0]
	if err != nil {
		st.left()
	}
	return err == nil
}

// flush sends what is gathered at once.
func (st *streaming) flush() bool {
	if !st.write() {
		return false
	}
	if err := http.NewResponseController(st.w).Flush(); err != nil {
		st.left()
		return false
	}
	return true
}

// plain writes an answer in one piece. The faults that end a stream have their
// counterparts here: an error instead of an answer, a body that breaks off, a
// body that never comes.
func (x *exchange) plain(a *answer, d *directives) *fault {
	if d.errorAfter >= 0 {
		return newFault(statusOverloaded, "%s", errorText(statusOverloaded))
	}
	if d.hangAfter >= 0 {
		x.hang()
		return nil
	}
	if d.interval > 0 && !x.wait(time.Duration(max(0, pieces(a)-1))*d.interval) {
		return nil
	}
	x.out = appendMessage(x.out, a, x.req.model.of(x.arena))
	if d.cutAfter < 0 {
		x.send(x.out)
		return nil
	}
	h := x.w.Header()
	h["Content-Type"] = x.s.limits.json
	h["Content-Length"] = []string{strconv.Itoa(len(x.out))}
	st := &streaming{exchange: x, d: d}
	x.out = x.out[:len(x.out)/2]
	if st.flush() {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// eventStream is the answer's media type, with what the API puts behind it.
const eventStream = sse.ContentType + "; charset=utf-8"
