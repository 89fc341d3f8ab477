package adminapi_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/sse"
)

// follower reads a stream.
type follower struct {
	response *http.Response
	reader   *sse.Reader
}

// follow opens the stream, over a real connection.
func follow(t *testing.T, url string, with func(r *http.Request)) (f *follower, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/admin/v1/stream", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	with(r)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return &follower{response, sse.NewReader(response.Body, 1<<20)}, response.StatusCode
}

// await reads to an event for which the test says that it is the one.
func (f *follower) await(t *testing.T, name string, is func(data []byte) bool) {
	t.Helper()
	for {
		frame, err := f.reader.Next()
		if err != nil {
			t.Fatalf("no such %s: %v", name, err)
		}
		if string(frame.Event) == name && is(frame.Data) {
			return
		}
	}
}

func anything([]byte) bool { return true }

// requestsIn says whether an event has requests by their ids.
func requestsIn(t *testing.T, live, recent string) func(data []byte) bool {
	return func(data []byte) bool {
		var all seenRequests
		if err := json.Unmarshal(data, &all); err != nil {
			t.Fatal(err)
		}
		has := func(list []seenRequest, id string) bool {
			for _, r := range list {
				if r.ID == id {
					return true
				}
			}
			return id == ""
		}
		if recent != "" && len(all.Recent) != 1 {
			return false // each is told once
		}
		return has(all.Live, live) && has(all.Recent, recent)
	}
}

func TestStream(t *testing.T) {
	s, closing := newStand(t, nil)
	server := httptest.NewServer(s.mux)
	defer closing()
	defer server.Close()
	f, status := follow(t, server.URL, by(s.signIn(t)))
	if status != http.StatusOK || f.response.Header.Get("Content-Type") != sse.ContentType || f.response.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", status, f.response.Header)
	}
	f.await(t, "overview", anything)
	f.await(t, "requests", requestsIn(t, "", ""))
	call := s.begin("req_live")
	f.await(t, "requests", requestsIn(t, "req_live", ""))
	s.finish(call)
	f.await(t, "requests", requestsIn(t, "", "req_live"))
	s.finish(s.begin("req_next"))
	f.await(t, "requests", requestsIn(t, "", "req_next"))
	f.await(t, "overview", anything) // also where nothing happens

	if _, err := s.keys.Revoke(t.Context(), s.adminID); err != nil {
		t.Fatal(err)
	}
	revoked := time.Now()
	f.await(t, "end", anything)
	if took := time.Since(revoked); took > time.Second {
		t.Errorf("the stream goes on for %v after its key", took)
	}
	if _, err := f.reader.Next(); err == nil {
		t.Error("something comes after the end")
	}
}

func TestStreamByKey(t *testing.T) {
	s, closing := newStand(t, nil)
	server := httptest.NewServer(s.mux)
	defer closing()
	defer server.Close()
	f, _ := follow(t, server.URL, byKey(s.admin))
	f.await(t, "overview", anything)
	if _, err := s.keys.Revoke(t.Context(), s.adminID); err != nil {
		t.Fatal(err)
	}
	s.look() // as it does by itself, or is told by another node
	f.await(t, "end", anything)
}

// When the service stops the streams end, and a node is read by so many at once.
func TestStreamsEnd(t *testing.T) {
	s, closing := newStand(t, nil)
	server := httptest.NewServer(s.mux)
	defer closing()
	defer server.Close()
	var all []*follower
	for range 50 {
		f, status := follow(t, server.URL, byKey(s.admin))
		if status != http.StatusOK {
			t.Fatalf("stream %d: %d", len(all), status)
		}
		f.await(t, "overview", anything)
		all = append(all, f)
	}
	one, status := follow(t, server.URL, byKey(s.admin))
	if status != http.StatusTooManyRequests || one.response.Header.Get("Retry-After") == "" {
		t.Errorf("one more: %d", status)
	}
	if err := s.handler.With(s.options).Stop(t.Context()); err != nil { // a later generation's
		t.Fatal(err)
	}
	for _, f := range all {
		if _, err := io.Copy(io.Discard, f.response.Body); err != nil {
			t.Error(err)
		}
	}
}
