package trace_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"claude-code-api-service/internal/trace"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
	parent  = "00-" + traceID + "-" + spanID + "-01"
)

func TestParse(t *testing.T) {
	long := "a=" + strings.Repeat("x", 300)
	for _, test := range []struct {
		name                   string
		parents, state, bag    []string
		ok, sampled            bool
		wantState, wantBaggage string
	}{
		{name: "sampled", parents: []string{parent}, ok: true, sampled: true},
		{name: "not sampled", parents: []string{parent[:53] + "00"}, ok: true},
		{name: "other flags", parents: []string{parent[:53] + "fe"}, ok: true},
		{name: "white space", parents: []string{" " + parent + "\t"}, ok: true, sampled: true},
		{name: "a later version", parents: []string{"01" + parent[2:] + "-more"}, ok: true, sampled: true},
		{name: "a later version with no more", parents: []string{"cc" + parent[2:]}, ok: true, sampled: true},
		{name: "a later version that goes on otherwise", parents: []string{"01" + parent[2:] + "more"}},
		{name: "no version", parents: []string{"ff" + parent[2:]}},
		{name: "more than version 00 has", parents: []string{parent + "-more"}},
		{name: "capitals", parents: []string{strings.ToUpper(parent)}},
		{name: "no trace", parents: []string{"00-" + strings.Repeat("0", 32) + "-" + spanID + "-01"}},
		{name: "no span", parents: []string{"00-" + traceID + "-" + strings.Repeat("0", 16) + "-01"}},
		{name: "not hexadecimal", parents: []string{"00-" + strings.Repeat("g", 32) + "-" + spanID + "-01"}},
		{name: "other separators", parents: []string{strings.ReplaceAll(parent, "-", "_")}},
		{name: "short", parents: []string{parent[:54]}},
		{name: "empty", parents: []string{""}},
		{name: "none", state: []string{"a=b"}, bag: []string{"a=b"}},
		{name: "two", parents: []string{parent, parent}},
		{name: "tracestate", parents: []string{parent}, state: []string{"a=1, b@c=2 ,", "d=x y"}, ok: true, sampled: true, wantState: "a=1,b@c=2,d=x y"},
		{name: "tracestate with a capital", parents: []string{parent}, state: []string{"A=1"}, ok: true, sampled: true},
		{name: "tracestate without a value", parents: []string{parent}, state: []string{"a"}, ok: true, sampled: true},
		{name: "tracestate with a control", parents: []string{parent}, state: []string{"a=\r\nx"}, ok: true, sampled: true},
		{name: "tracestate too long", parents: []string{parent}, state: []string{long}, ok: true, sampled: true},
		{name: "tracestate of too many", parents: []string{parent}, state: []string{strings.Repeat("a=b,", 33)}, ok: true, sampled: true},
		{name: "baggage", parents: []string{parent}, bag: []string{"a=b;p=1, c=%20"}, ok: true, sampled: true, wantBaggage: "a=b;p=1, c=%20"},
		{name: "baggage without a value", parents: []string{parent}, bag: []string{"a"}, ok: true, sampled: true},
		{name: "baggage with a control", parents: []string{parent}, bag: []string{"a=\x00"}, ok: true, sampled: true},
		{name: "baggage too long", parents: []string{parent}, bag: []string{"a=" + strings.Repeat("x", 9_000)}, ok: true, sampled: true},
		{name: "baggage of too many", parents: []string{parent}, bag: []string{strings.Repeat("a=b,", 64) + "a=b"}, ok: true, sampled: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := trace.Parse(http.Header{"Traceparent": test.parents, "Tracestate": test.state, "Baggage": test.bag})
			if (s != nil) != test.ok {
				t.Fatalf("%+v", s)
			}
			if s == nil {
				return
			}
			if s.Trace.String() != traceID || s.ID.String() != spanID || s.Sampled != test.sampled || s.State != test.wantState || s.Baggage != test.wantBaggage {
				t.Errorf("%+v", s)
			}
		})
	}
}

// FuzzParse takes what it takes as it was written, and nothing that couldn't be a header.
func FuzzParse(f *testing.F) {
	f.Add(parent, "vendor=1", "a=b;p")
	f.Add("01"+parent[2:]+"-x", "a@b=c, d=e", "a=b,c=d")
	f.Add("", "", "")
	f.Fuzz(func(t *testing.T, parent, state, baggage string) {
		s := trace.Parse(http.Header{"Traceparent": {parent}, "Tracestate": {state}, "Baggage": {baggage}})
		if s == nil {
			return
		}
		again := trace.Parse(http.Header{"Traceparent": {s.Traceparent()}, "Tracestate": {s.State}, "Baggage": {s.Baggage}})
		if again == nil || again.Trace != s.Trace || again.ID != s.ID || again.Sampled != s.Sampled || again.State != s.State || again.Baggage != s.Baggage {
			t.Errorf("%q, %q, %q become %+v, and then %+v", parent, state, baggage, s, again)
		}
		if text := s.Traceparent() + s.State + s.Baggage; strings.ContainsAny(text, "\r\n\x00") || len(text) > 55+512+8_192 {
			t.Errorf("%q is no header", text)
		}
	})
}

func TestParts(t *testing.T) {
	s := trace.ParseParent(parent)
	s.State, s.Baggage = "vendor=1", "tenant=blue"
	child := s.Child()
	if child.Trace != s.Trace || child.Parent != s.ID || child.ID == s.ID || !child.Sampled || child.State != s.State || child.Baggage != s.Baggage {
		t.Errorf("%+v", child)
	}
	if child.Out() == child.Traceparent() || !strings.HasPrefix(child.Out(), "00-"+traceID+"-"+child.Upstream.String()) {
		t.Errorf("it goes out as %s", child.Out())
	}
	later := s.Keep().Later()
	if later.Trace == s.Trace || later.Parent != (trace.SpanID{}) || later.Link.Trace != s.Trace || later.Link.ID != s.ID || !later.Sampled || later.State != s.State {
		t.Errorf("%+v", later)
	}
	if e := s.Environment(); e.Parent != parent || e.State != "vendor=1" {
		t.Errorf("%+v", e)
	}
}

// TestPassed: where no spans are made, what comes is what goes on.
func TestPassed(t *testing.T) {
	s := trace.ParseParent(parent)
	s.Passed = true
	if s.Child() != s || s.Out() != parent || s.Keep().Later().Out() != parent {
		t.Errorf("%+v, later %+v", s.Child(), s.Keep().Later())
	}
}

// TestNone: a span that isn't there costs nobody a question.
func TestNone(t *testing.T) {
	var s *trace.Span
	ctx := context.Background()
	if s.Child() != nil || s.Later() != nil || s.Keep().Later() != nil || s.Out() != "" || s.Traceparent() != "" || trace.With(ctx, s) != ctx || trace.From(ctx) != nil ||
		s.Environment() != (trace.Environment{}) {
		t.Error("it is there")
	}
}

func TestNotes(t *testing.T) {
	s := &trace.Span{}
	if s.Noted() != nil {
		t.Error("something was noted")
	}
	s.Note(1)
	s.Note("two")
	if s.Noted() != "two" {
		t.Errorf("%v", s.Noted())
	}
}

func TestHandler(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(trace.Handler(slog.NewTextHandler(&text, nil))).With("a", 1)
	s := trace.ParseParent(parent)
	log.InfoContext(trace.With(t.Context(), s), "one")
	log.InfoContext(t.Context(), "two")
	lines := strings.SplitAfter(text.String(), "\n")
	if !strings.Contains(lines[0], "a=1 trace_id="+traceID+" span_id="+spanID) || strings.Contains(lines[1], "trace_id") {
		t.Errorf("%s", text.String())
	}
}

func BenchmarkParse(b *testing.B) {
	h := http.Header{"Traceparent": {parent}, "Tracestate": {"vendor=1"}}
	b.ReportAllocs()
	for b.Loop() {
		trace.Parse(h)
	}
}
