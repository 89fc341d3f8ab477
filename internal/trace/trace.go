// Package trace is the place of a piece of work in a distributed trace, as the W3C
// writes it (Trace Context level 2, Baggage): taken from a caller, made anew for what the
// work consists of, passed on. Whoever exports spans is another room; this one costs a
// request nothing where there is no trace.
package trace

import (
	"context"
	"encoding/hex"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// The headers, in the spelling of net/http.
const (
	HeaderParent  = "Traceparent"
	HeaderState   = "Tracestate"
	HeaderBaggage = "Baggage"
)

// ID is a trace's.
type ID [16]byte

// SpanID is that of a span in its trace; the zero one is none.
type SpanID [8]byte

// String gives it in hexadecimal, as the header has it.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// String gives it in hexadecimal, as the header has it.
func (id SpanID) String() string { return hex.EncodeToString(id[:]) }

// Span is a piece of work in a trace. A nil *Span is one of which nobody wants to know:
// all methods take it. It isn't changed once others know of it, but for its note,
// and is safe for concurrent use.
type Span struct {
	Trace  ID
	ID     SpanID
	Parent SpanID // zero: it begins the trace
	// Remote says that the parent is a caller's.
	Remote bool
	// Sampled says that the spans of the trace are kept.
	Sampled bool
	// State and Baggage are the caller's tracestate and baggage, which are passed on; ""
	// for none.
	State, Baggage string
	// Upstream is the span as which the backend's call goes out; see Out.
	Upstream SpanID
	// Passed says that no spans are made here: ID is the caller's own, and what names it
	// goes on to the upstream as it came.
	Passed bool
	// Link is the span of the request that asked for this work, which is a trace of its
	// own; nil: none did.
	Link *Span
	// Server says that it is one of an HTTP request, which is finished by whoever serves
	// that.
	Server bool

	notes atomic.Pointer[any]
}

// Note notes what its end is to tell of the span, in place of what was noted before.
func (s *Span) Note(value any) { s.notes.Store(&value) }

// Noted is what was noted last; nil: nothing.
func (s *Span) Noted() any {
	if value := s.notes.Load(); value != nil {
		return *value
	}
	return nil
}

// NewSpanID makes an id. It isn't a secret.
func NewSpanID() (id SpanID) {
	for id == (SpanID{}) {
		put(id[:], rand.Uint64())
	}
	return id
}

// NewID makes a trace's id. It isn't a secret.
func NewID() (id ID) {
	for id == (ID{}) {
		put(id[:8], rand.Uint64())
		put(id[8:], rand.Uint64())
	}
	return id
}

func put(into []byte, n uint64) {
	for i := range into {
		into[i] = byte(n >> (8 * i))
	}
}

// Child makes the span of a part of the work.
func (s *Span) Child() *Span {
	if s == nil || s.Passed {
		return s
	}
	return &Span{
		Trace: s.Trace, ID: NewSpanID(), Parent: s.ID, Sampled: s.Sampled, State: s.State, Baggage: s.Baggage, Upstream: NewSpanID(),
	}
}

// Later makes the span of work that s, kept since, has asked for: it begins a trace of
// its own, with a link to that.
func (s *Span) Later() *Span {
	if s == nil || s.Passed {
		return s
	}
	return &Span{Trace: NewID(), ID: NewSpanID(), Sampled: s.Sampled, State: s.State, Upstream: NewSpanID(), Link: s}
}

// Kept is a span as work that waits keeps it; the zero one is none.
type Kept struct {
	Parent string `json:"traceparent,omitzero"`
	State  string `json:"tracestate,omitzero"`
	Passed bool   `json:"passed,omitzero"` // see Span
}

// Keep gives what is kept of a span.
func (s *Span) Keep() Kept {
	if s == nil {
		return Kept{}
	}
	return Kept{Parent: s.Traceparent(), State: s.State, Passed: s.Passed}
}

// Later makes the span of the work that was kept; nil: there is none.
func (k Kept) Later() *Span {
	s := ParseParent(k.Parent)
	if s == nil {
		return nil
	}
	if k.State != "" {
		s.State = state([]string{k.State})
	}
	s.Passed = k.Passed
	return s.Later()
}

// traceparent has version 00: 00-TRACE-SPAN-FLAGS.
const parentSize = 2 + 1 + 32 + 1 + 16 + 1 + 2

// Traceparent is what names the span to what it asks; "" for a nil one.
func (s *Span) Traceparent() string {
	if s == nil {
		return ""
	}
	return s.traceparent(s.ID)
}

// Out is what names the span of the backend's call to the upstream.
func (s *Span) Out() string {
	switch {
	case s == nil:
		return ""
	case s.Upstream == (SpanID{}):
		return s.traceparent(s.ID)
	}
	return s.traceparent(s.Upstream)
}

func (s *Span) traceparent(id SpanID) string {
	b := append(make([]byte, 0, parentSize), "00-"...)
	b = hex.AppendEncode(b, s.Trace[:])
	b = hex.AppendEncode(append(b, '-'), id[:])
	if s.Sampled {
		return string(append(b, "-01"...))
	}
	return string(append(b, "-00"...))
}

// Environment is what a program finds in its environment of the span that it works for:
// TRACEPARENT and TRACESTATE, as OpenTelemetry names them. The zero one is none.
type Environment struct{ Parent, State string }

// Environment gives that of a span.
func (s *Span) Environment() Environment {
	if s == nil {
		return Environment{}
	}
	return Environment{s.Traceparent(), s.State}
}

// key is the key of the context's value.
type key struct{}

// With gives a context whose work is the span's; ctx itself for a nil one.
func With(ctx context.Context, s *Span) context.Context {
	if s == nil {
		return ctx
	}
	return context.WithValue(ctx, key{}, s)
}

// From is the span of a context's work; nil: there is none.
func From(ctx context.Context) *Span {
	s, _ := ctx.Value(key{}).(*Span)
	return s
}

// Served is how an HTTP request was answered.
type Served struct {
	Method   string
	Route    string // the pattern of its path; "": none
	Scheme   string // http or https
	Protocol string // 1.1 or 2
	Host     string // as the caller named the service, maybe with a port
	// Address is the client's, maybe with a port.
	Address   string
	UserAgent string
	Status    int
	RequestID string
	KeyID     string // "": nobody's
	ProjectID string
	Start     time.Time
	Took      time.Duration
}
