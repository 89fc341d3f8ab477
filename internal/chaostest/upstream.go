package chaostest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"time"

	"claude-code-api-service/internal/simulator"
)

const (
	// slowStart is less than the service's limit on silence in the tests, which is
	// two seconds.
	slowStart = 700 * time.Millisecond
	largeText = 1 << 20
	hugeText  = 17 << 20 // the service takes events up to 16 MiB
)

// Upstream is the simulator, which does to a request what [[chaos=FAULT]] in its
// body says. It also tells processes of the fake CLI what to do at their start.
type Upstream struct {
	url       string
	seed      uint64
	simulator *simulator.Simulator
	server    *http.Server
	inFlight  atomic.Int64
	calls     atomic.Int64
	processes atomic.Int64
	armed     atomic.Bool
}

// NewUpstream starts an upstream on loopback. Processes of the CLI start without
// faults until Arm.
func NewUpstream(seed uint64) (*Upstream, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("chaos upstream: %w", err)
	}
	u := &Upstream{url: "http://" + listener.Addr().String(), seed: seed, simulator: simulator.New(simulator.Options{})}
	u.server = &http.Server{Handler: u, ReadHeaderTimeout: time.Minute}
	go func() { _ = u.server.Serve(listener) }() // ends with Close
	return u, nil
}

// URL is where it listens.
func (u *Upstream) URL() string { return u.url }

// Scripts is what the fake CLI finds in ScriptsVariable.
func (u *Upstream) Scripts() string { return u.url + scriptsPath }

// Arm says whether processes of the CLI that start from now on have faults.
func (u *Upstream) Arm(armed bool) { u.armed.Store(armed) }

// InFlight is how many requests it is answering.
func (u *Upstream) InFlight() int64 { return u.inFlight.Load() }

// Calls is how many requests it got, and Processes how many processes of the CLI
// started with a fault or the chance of one.
func (u *Upstream) Calls() int64     { return u.calls.Load() }
func (u *Upstream) Processes() int64 { return u.processes.Load() } //nolint:revive // told above

// Quiet closes the connections that nobody uses, and those that are used as soon
// as they aren't any more.
func (u *Upstream) Quiet() { u.server.SetKeepAlivesEnabled(false) }

// Close ends everything.
func (u *Upstream) Close() error { return u.server.Close() }

const scriptsPath = "/chaos/start"

// ServeHTTP implements http.Handler.
func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == scriptsPath {
		if u.armed.Load() {
			_, _ = io.WriteString(w, string(NewStart(u.seed, int(u.processes.Add(1)))))
		}
		return
	}
	u.calls.Add(1)
	u.inFlight.Add(1)
	defer u.inFlight.Add(-1)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // its client has gone
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	fault := Fault(directive(body, "chaos"))
	if fault == "" {
		u.simulator.ServeHTTP(w, r)
		return
	}
	u.harm(w, r, fault)
}

// directive gives the value of the last [[name=value]] in a text.
func directive(text []byte, name string) string {
	at := bytes.LastIndex(text, []byte("[["+name+"="))
	if at < 0 {
		return ""
	}
	value, _, _ := bytes.Cut(text[at+len(name)+3:], []byte("]]"))
	return string(value)
}

// answer is what the simulator would have said.
type answer struct {
	header http.Header
	status int
	body   []byte
	events [][]byte // of a stream; nil for an answer in one piece
}

func (u *Upstream) answer(r *http.Request) *answer {
	recorder := httptest.NewRecorder()
	u.simulator.ServeHTTP(recorder, r)
	a := &answer{header: recorder.Header(), status: recorder.Code, body: recorder.Body.Bytes()}
	if bytes.HasPrefix(a.body, []byte("event:")) {
		a.events = bytes.SplitAfter(a.body, []byte("\n\n"))
	}
	return a
}

// half is the first part of the body; at least one event of a stream, and never
// its last ones.
func (a *answer) half() []byte {
	if a.events == nil {
		return a.body[:len(a.body)/2]
	}
	return bytes.Join(a.events[:len(a.events)/2], nil)
}

func (u *Upstream) harm(w http.ResponseWriter, r *http.Request, fault Fault) {
	switch fault {
	case ResetBefore:
		reset(w)
		return
	case Silent:
		<-r.Context().Done()
		return
	case SlowStart:
		if !pause(r, slowStart) {
			return
		}
		u.simulator.ServeHTTP(w, r)
		return
	case Storm, StormAfter, Internal, Overloaded:
		refuse(w, fault)
		return
	}
	a := u.answer(r)
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.Header().Del("Content-Length")
	w.WriteHeader(a.status)
	send := func(parts ...[]byte) {
		for _, part := range parts {
			_, _ = w.Write(part) // a client that has gone ends the context
		}
		_ = http.NewResponseController(w).Flush()
	}
	send() // the header
	switch fault {
	case ResetHeader:
		reset(w)
	case ResetBody:
		send(a.half())
		reset(w)
	case Stalled:
		send(a.half())
		<-r.Context().Done()
	case SlowBody:
		for i := range a.body {
			if send(a.body[i : i+1]); !pause(r, time.Second) {
				return
			}
		}
	case Truncated:
		send(a.half())
	case Garbage:
		send([]byte("<html>\x00\xff this is no answer {[\n\n"))
	case BadEvent:
		send(a.half(), []byte("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\xff\n\n"))
	case ErrorEvent:
		send(a.half(), []byte("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n"))
	case Duplicate:
		for _, event := range a.events {
			send(event, event)
		}
		if a.events == nil {
			send(a.body, a.body)
		}
	case Large:
		sendLarge(send, a, largeText)
	case Huge:
		sendLarge(send, a, hugeText)
	default:
		panic("chaos: no such fault: " + string(fault))
	}
}

// sendLarge puts a delta of so many bytes in front of the others; an answer in one
// piece gets as much white space.
func sendLarge(send func(...[]byte), a *answer, size int) {
	if a.events == nil {
		send(bytes.Repeat([]byte(" "), size), a.body)
		return
	}
	const begins = 2 // message_start and content_block_start
	text := append(bytes.Repeat([]byte("large "), size/6), '.')
	large := fmt.Appendf(nil, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"%s\"}}\n\n", text)
	send(a.events[:begins]...)
	send(large)
	send(a.events[begins:]...)
}

func refuse(w http.ResponseWriter, fault Fault) {
	status, kind := http.StatusTooManyRequests, "rate_limit_error"
	switch fault {
	case StormAfter:
		w.Header().Set("Retry-After", strconv.Itoa(1))
	case Internal:
		status, kind = http.StatusInternalServerError, "api_error"
	case Overloaded:
		status, kind = 529, "overloaded_error"
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"type":"error","error":{"type":%q,"message":"as planned"},"request_id":"req_chaos"}`, kind)
}

// reset ends the connection with RST.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// pause says whether the client is still there after a while.
func pause(r *http.Request, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-r.Context().Done():
		return false
	}
}
