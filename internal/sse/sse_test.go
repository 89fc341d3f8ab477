package sse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

type event struct{ event, data, raw string }

// readAll gives every event of a stream and the error that ended it.
func readAll(src io.Reader, limit int) ([]event, error) {
	r := NewReader(src, limit)
	var events []event
	for {
		frame, err := r.Next()
		if err != nil {
			return events, err
		}
		events = append(events, event{string(frame.Event), string(frame.Data), string(frame.Raw)})
	}
}

func TestReader(t *testing.T) {
	tests := []struct {
		name, stream string
		want         []event
		err          error
	}{
		{name: "empty", err: io.EOF},
		{
			name: "two events", stream: "event: a\ndata: 1\n\nevent: b\ndata: 2\n\n", err: io.EOF,
			want: []event{{"a", "1", "event: a\ndata: 1\n\n"}, {"b", "2", "event: b\ndata: 2\n\n"}},
		},
		{
			name: "carriage returns", stream: "event: a\r\ndata: 1\r\n\r\n", err: io.EOF,
			want: []event{{"a", "1", "event: a\r\ndata: 1\r\n\r\n"}},
		},
		{
			name: "several data lines", stream: "data: 1\ndata:2\ndata\n\n", err: io.EOF,
			want: []event{{"", "1\n2\n", "data: 1\ndata:2\ndata\n\n"}},
		},
		{
			name: "comment stays in front of the next event", stream: ": ping\n\nevent: a\ndata: 1\n\n", err: io.EOF,
			want: []event{{"a", "1", ": ping\n\nevent: a\ndata: 1\n\n"}},
		},
		{name: "only comments", stream: ": ping\n\n: ping\n\n", err: io.EOF},
		{name: "broken off", stream: "event: a\ndata: 1\n", err: io.ErrUnexpectedEOF},
		{name: "too large", stream: "data: " + strings.Repeat("x", 100) + "\n\n", err: ErrTooLarge},
	}
	for _, tt := range tests {
		for how, src := range map[string]io.Reader{
			"at once":      strings.NewReader(tt.stream),
			"byte by byte": iotest.OneByteReader(strings.NewReader(tt.stream)),
		} {
			t.Run(tt.name+"/"+how, func(t *testing.T) {
				got, err := readAll(src, 64)
				if !errors.Is(err, tt.err) {
					t.Errorf("ended with %v, want %v", err, tt.err)
				}
				if fmt.Sprint(got) != fmt.Sprint(tt.want) {
					t.Errorf("got  %q\nwant %q", got, tt.want)
				}
			})
		}
	}
}

func TestBuffered(t *testing.T) {
	tests := []struct {
		name, rest string
		want       bool
	}{
		{"nothing", "", false},
		{"part of an event", "data: 2\n", false},
		{"an event", "data: 2\n\n", true},
		{"only a comment", ": ping\n\n", false},
		{"an event behind a comment", ": ping\n\ndata: 2\n\n", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := NewReader(strings.NewReader("data: 1\n\n"+tt.rest), 1<<10)
			if _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
			if got := r.Buffered(); got != tt.want {
				t.Errorf("Buffered() = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestAppend(t *testing.T) {
	got := Append(Append(nil, "a", []byte("1")), "", []byte("2"))
	if want := "event: a\ndata: 1\n\ndata: 2\n\n"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzReader checks that how a stream is cut into reads changes nothing, and
// that no byte of its events is lost.
func FuzzReader(f *testing.F) {
	f.Add([]byte("event: a\ndata: 1\n\n: c\n\ndata: 2\r\n\r\n"))
	f.Add([]byte("\n\n\r\n\ndata\n\n"))
	f.Add([]byte(": ping\n\ndata: broken"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, err := readAll(bytes.NewReader(stream), 1<<16)
		bytewise, err2 := readAll(iotest.OneByteReader(bytes.NewReader(stream)), 1<<16)
		if fmt.Sprint(whole, err) != fmt.Sprint(bytewise, err2) {
			t.Fatalf("at once %q %v, byte by byte %q %v", whole, err, bytewise, err2)
		}
		var raw []byte
		for _, e := range whole {
			raw = append(raw, e.raw...)
		}
		if !bytes.HasPrefix(stream, raw) {
			t.Fatalf("events hold %q of %q", raw, stream)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	one := "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"word \"}}\n\n"
	stream := strings.Repeat(one, 1000)
	b.ReportAllocs()
	for b.Loop() {
		r := NewReader(strings.NewReader(stream), 1<<20)
		for {
			if _, err := r.Next(); err != nil {
				break
			}
			r.Buffered()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/event")
}
