package simulator

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"claude-code-api-service/internal/message"
)

// exchange is one request and its answer.
type exchange struct {
	*scratch
	s         *Simulator
	w         http.ResponseWriter
	r         *http.Request
	requestID string

	rules    message.Rules // of the model
	thinking thinking
	choice   toolChoice
}

func (x *exchange) serve(at place, inFlight int64) {
	started := time.Now()
	f := x.readBody()
	x.keep(started)
	x.s.limits.set(x.w.Header(), x.requestID, started)
	if f == nil && inFlight > int64(x.s.options.MaxInFlight) {
		f = newFault(statusOverloaded, "Overloaded")
	}
	if f == nil {
		f = x.answer(at)
	}
	if f != nil {
		x.fail(f)
	}
}

// answer writes the answer, or returns a fault where it has written nothing.
func (x *exchange) answer(at place) *fault {
	method := x.r.Method
	switch at {
	case placeRoot:
		if method != http.MethodGet && method != http.MethodHead {
			return newFault(http.StatusMethodNotAllowed, "Method Not Allowed")
		}
		x.send(append(x.out, "{}"...))
		return nil
	case placeOther:
		return newFault(http.StatusNotFound, "Not found")
	}
	if f := checkHeader(x.r.Header); f != nil {
		return f
	}
	want := http.MethodGet
	if at == placeMessages || at == placeCountTokens {
		want = http.MethodPost
	}
	if method != want {
		return newFault(http.StatusMethodNotAllowed, "Method Not Allowed")
	}
	switch at {
	case placeModels:
		return x.listModels()
	case placeModel:
		return x.oneModel(strings.TrimPrefix(x.r.URL.Path, "/v1/models/"))
	case placeCountTokens:
		return x.countTokens()
	default:
		return x.message()
	}
}

func checkHeader(h http.Header) *fault {
	key := h.Get("X-Api-Key")
	bearer, isBearer := strings.CutPrefix(h.Get("Authorization"), "Bearer ")
	if key == "" && (!isBearer || strings.TrimSpace(bearer) == "") {
		return newFault(http.StatusUnauthorized, "x-api-key header is required")
	}
	if h.Get("Anthropic-Version") == "" {
		return invalid("anthropic-version: header is required")
	}
	return nil
}

// readBody reads the body into memory that is the exchange's own, or the
// recorder's if requests are kept.
func (x *exchange) readBody() *fault {
	if x.r.Body == nil || x.r.Body == http.NoBody {
		x.body = x.body[:0]
		return nil
	}
	if x.s.options.KeepBodies > 0 {
		x.body = nil
	}
	size := x.r.ContentLength
	if size > maxBody {
		return newFault(http.StatusRequestEntityTooLarge, "Request exceeds the maximum size")
	}
	var err error
	if size >= 0 {
		if int64(cap(x.body)) < size {
			x.body = make([]byte, size)
		}
		x.body = x.body[:size]
		_, err = io.ReadFull(x.r.Body, x.body)
	} else {
		x.body, err = io.ReadAll(io.LimitReader(x.r.Body, maxBody+1))
	}
	switch {
	case err != nil:
		x.body = x.body[:0]
		return invalid("The request body could not be read")
	case len(x.body) > maxBody:
		return newFault(http.StatusRequestEntityTooLarge, "Request exceeds the maximum size")
	}
	return nil
}

func (x *exchange) keep(at time.Time) {
	if x.s.options.KeepBodies <= 0 {
		return
	}
	x.s.record.add(Request{
		Time: at, Method: x.r.Method, Path: x.r.URL.Path, Query: x.r.URL.RawQuery,
		Header: x.r.Header, Body: x.body,
	})
}

// send writes a JSON answer with status 200.
func (x *exchange) send(body []byte) {
	x.out = body
	h := x.w.Header()
	h["Content-Type"] = x.s.limits.json
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	if x.r.Method == http.MethodHead {
		return
	}
	if _, err := x.w.Write(body); err != nil {
		x.left()
	}
}

func (x *exchange) fail(f *fault) {
	x.s.record.change(func(c *Stats) { c.Errors++ })
	h := x.w.Header()
	h["Content-Type"] = x.s.limits.json
	if f.retryAfter >= 0 {
		h.Set("Retry-After", strconv.Itoa(f.retryAfter))
	}
	x.out = appendError(x.out[:0], errorType(f.status), f.message, f.details, x.requestID)
	h.Set("Content-Length", strconv.Itoa(len(x.out)))
	x.w.WriteHeader(f.status)
	_, _ = x.w.Write(x.out) // the client left: nobody to tell
}

// left counts a client that went away, unless the simulator itself closes.
func (x *exchange) left() {
	if !x.s.server.closing.Load() {
		x.s.record.change(func(c *Stats) { c.Cancelled++ })
	}
}

// wait sleeps for d and says whether the client is still there. A client that
// left is counted.
func (x *exchange) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-x.r.Context().Done():
		x.left()
		return false
	}
}

// hang waits until the client leaves.
func (x *exchange) hang() {
	<-x.r.Context().Done()
	x.left()
}

// parse decodes the body and the directives, and does what the directives say
// about the time before an answer and about errors. done says that there is
// nothing left to answer.
func (x *exchange) parse() (d directives, prompt []byte, done bool, f *fault) {
	d = x.s.defaultDirectives()
	if given := x.r.Header.Get("X-Simulator"); given != "" {
		if f := d.read([]byte(given)); f != nil {
			return d, nil, false, f
		}
	}
	if f := x.decode(beta(x.r.Header)); f != nil {
		return d, nil, false, f
	}
	if f := x.checkModel(); f != nil {
		return d, nil, false, f
	}
	if f := x.check(); f != nil {
		return d, nil, false, f
	}
	if prompt, f = x.prompt(&d); f != nil {
		return d, nil, false, f
	}
	if d.hang {
		x.hang()
		return d, nil, true, nil
	}
	if !x.wait(d.delay) {
		return d, nil, true, nil
	}
	if d.status != 0 && x.s.memory.fails(hash(prompt), d.times) {
		f = newFault(d.status, "%s", errorText(d.status))
		f.retryAfter = d.retryAfter
		return d, nil, false, f
	}
	return d, prompt, false, nil
}

func (x *exchange) checkModel() *fault {
	model := string(x.req.model.of(x.arena))
	if !strings.HasPrefix(model, "claude") || strings.Contains(model, "nonexistent") {
		return newFault(http.StatusNotFound, "model: %s", model)
	}
	return nil
}

func (x *exchange) countTokens() *fault {
	_, _, done, f := x.parse()
	if f != nil || done {
		return f
	}
	b := append(x.out, `{"input_tokens":`...)
	b = strconv.AppendInt(b, x.promptTokens(), 10)
	x.send(append(b, '}'))
	return nil
}

func (x *exchange) message() *fault {
	d, prompt, done, f := x.parse()
	if f != nil || done {
		return f
	}
	if x.req.maxTokens < 0 {
		return invalid("max_tokens: Field required")
	}
	a, f := x.plan(&d, prompt)
	if f != nil {
		return f
	}
	if x.req.stream {
		x.stream(a, &d)
		return nil
	}
	return x.plain(a, &d)
}
