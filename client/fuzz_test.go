package client

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// FuzzStreams reads any bytes as each of the streams: whatever comes, reading ends, behind
// the last event or with an error, and gives nothing behind that.
func FuzzStreams(f *testing.F) {
	for _, seed := range []string{
		"event: token\ndata: {\"type\":\"token\",\"content\":\"hi\"}\n\nevent: done\ndata: {\"type\":\"done\",\"content\":\"hi\",\"metadata\":{\"usage\":{\"input_tokens\":1}}}\n\n",
		"id: 1\nevent: tool_use\ndata: {\"type\":\"tool_use\",\"tool\":\"Bash\",\"input\":{\"command\":\"ls\"}}\n\nid: 2\nevent: result\ndata: {\"type\":\"result\",\"status\":\"completed\"}\n\n",
		"event: error\ndata: {\"type\":\"error\",\"detail\":\"no\",\"error\":{\"message\":\"no\",\"type\":\"internal\",\"param\":null,\"code\":\"internal\"},\"retry_after\":1e300}\n\n",
		"id: 99999999999999999999\ndata: {\"type\":\"result\",\"result\":7}\n\n",
		": heartbeat\n\ndata: {\"type\":\"token\",\"content\":{}}\n\n", "data: nothing\n\n", "data\n\n", "\n\n", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		c := &Client{base: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}, http: &http.Client{Transport: whole(stream)}, retries: -1}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		ended := false
		for e, err := range c.ProcessStream(ctx, ProcessRequest{}) {
			if ended {
				t.Fatalf("behind the end: %+v %v", e, err)
			}
			ended = err != nil || e.Done != nil
			if err == nil && e.Type == EventDone && e.Done == nil {
				t.Fatalf("%+v", e)
			}
		}
		if !ended {
			t.Fatal("the stream ends without its last event")
		}
		ended = false
		for e, err := range c.TaskStream(ctx, TaskRequest{}) {
			if ended {
				t.Fatalf("behind the end: %+v %v", e, err)
			}
			ended = err != nil || e.Task != nil
		}
		if !ended {
			t.Fatal("the stream ends without its last event")
		}
		for _, line := range bytes.Split(stream, []byte("data: ")) {
			if e, ended, err := readChatEvent(line, "chat-1"); err == nil && ended && e.Type != EventDone {
				t.Fatalf("a chat ends with %+v", e)
			}
		}
	})
}

// whole answers every request with a stream.
type whole []byte

func (w whole) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream; charset=utf-8"}}, Body: io.NopCloser(bytes.NewReader(w))}, nil
}

// FuzzErrors reads any answer as an error: there is always a text, and no wait that isn't
// a time.
func FuzzErrors(f *testing.F) {
	f.Add(429, `{"detail":"no","error":{"message":"no","type":"rate_limited","code":"rate_limited"}}`, "7", "auth;dur=0.1, total;dur=1e400")
	f.Add(500, `<html>`, "Wed, 21 Oct 2015 07:28:00 GMT", ";;,=")
	f.Add(503, `{"retry_after":-1}`, "NaN", "a;dur=NaN")
	f.Fuzz(func(t *testing.T, status int, body, wait, timing string) {
		response := &http.Response{StatusCode: status, Status: "status", Header: http.Header{"Retry-After": {wait}, "Server-Timing": {timing}}, Body: io.NopCloser(strings.NewReader(body))}
		e := errorOf(response)
		if e.Message == "" || e.Error() == "" || e.RetryAfter < 0 {
			t.Fatalf("%+v", e)
		}
		new(Meta).header(response)
	})
}
