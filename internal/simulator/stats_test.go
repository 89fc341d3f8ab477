package simulator

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestClientLeavesIsSeen(t *testing.T) {
	for _, test := range []struct{ name, prompt, more string }{
		{"hang", "[[hang]]", ""},
		{"before the header", "[[delay=1h]]", ""},
		{"between deltas", "[[tokens=9 interval=1h]]", `,"stream":true`},
		{"a plain answer in the making", "[[tokens=9 interval=1h]]", ""},
		{"stalled stream", "[[tokens=9 hang-after=3]]", `,"stream":true`},
		{"stalled plain answer", "[[hang-after=3]]", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, url := start(t, Options{})
			ctx, leave := context.WithCancel(t.Context())
			r := newRequest(t, http.MethodPost, url+"/v1/messages", ask(test.prompt, test.more)).WithContext(ctx)
			ended := make(chan error, 1)
			go func() {
				response, err := client(t).Do(r)
				if err == nil {
					_, err = io.Copy(io.Discard, response.Body)
					_ = response.Body.Close()
				}
				ended <- err
			}()
			if err := s.Wait(soon(t), func(s Stats) bool { return s.InFlight == 1 }); err != nil {
				t.Fatal(err)
			}
			leave()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("the client got %v", err)
			}
			if err := s.Wait(soon(t), func(s Stats) bool { return s.InFlight == 0 && s.Cancelled == 1 && s.ConnectionsOpen == 0 }); err != nil {
				t.Errorf("%v: %+v", err, s.Stats())
			}
		})
	}
}

func TestCloseEndsWhatHangs(t *testing.T) {
	s, url := start(t, Options{})
	ended := make(chan error, 1)
	go func() {
		response, err := client(t).Do(newRequest(t, http.MethodPost, url+"/v1/messages", ask("[[hang]]", "")))
		if err == nil {
			_ = response.Body.Close()
		}
		ended <- err
	}()
	if err := s.Wait(soon(t), func(s Stats) bool { return s.InFlight == 1 }); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := <-ended; err == nil {
		t.Error("the client got an answer")
	}
	if stats := s.Stats(); stats.InFlight != 0 || stats.Cancelled != 0 || stats.ConnectionsOpen != 0 {
		t.Errorf("stats %+v", stats)
	}
}

// Every stream gets its first delta before any gets its second, so all of them
// are served at the same time.
func TestManySlowStreams(t *testing.T) {
	const streams = 300
	s, url := start(t, Options{})
	c := client(t)
	errs := make(chan error, streams)
	for i := range streams {
		r := newRequest(t, http.MethodPost, url+"/v1/messages", ask(fmt.Sprintf("[[tokens=4 hang-after=2]] %d", i), `,"stream":true`))
		ctx, leave := context.WithCancel(r.Context())
		go func() {
			defer leave()
			response, err := c.Do(r.WithContext(ctx))
			if err != nil {
				errs <- err
				return
			}
			defer func() { _ = response.Body.Close() }()
			lines := bufio.NewScanner(response.Body)
			for deltas := 0; deltas < 2 && lines.Scan(); {
				if lines.Text() == "event: content_block_delta" {
					deltas++
				}
			}
			errs <- lines.Err()
			_ = s.Wait(ctx, func(s Stats) bool { return s.MaxInFlight == streams })
		}()
	}
	for range streams {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Wait(soon(t), func(s Stats) bool { return s.Cancelled == streams }); err != nil {
		t.Fatal(err)
	}
	if stats := s.Stats(); stats.MaxInFlight != streams || stats.Streams != streams || stats.Requests["/v1/messages"] != streams {
		t.Errorf("stats %+v", stats)
	}
}

func TestConcurrentAnswersAreTheirOwn(t *testing.T) {
	s, url := start(t, Options{KeepBodies: 50})
	c := client(t)
	var wait sync.WaitGroup
	for i := range 32 {
		wait.Go(func() {
			for j := range 20 {
				prompt := fmt.Sprintf("prompt %d of caller %d", j, i)
				response, err := c.Do(newRequest(t, http.MethodPost, url+"/v1/messages", ask(prompt, "")))
				if err != nil {
					t.Error(err)
					return
				}
				var a answered
				err = json.NewDecoder(response.Body).Decode(&a)
				_ = response.Body.Close()
				if err != nil || len(a.Content) != 1 || a.Content[0].Text != "Echo: "+prompt {
					t.Errorf("%s: %+v, %v", prompt, a, err)
				}
			}
		})
	}
	wait.Wait()
	if n := len(s.Requests()); n != 50 {
		t.Errorf("%d requests kept", n)
	}
}

func TestTooManyInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{MaxInFlight: 1})
		ctx, leave := context.WithCancel(t.Context())
		go s.ServeHTTP(httptest.NewRecorder(), newRequest(t, http.MethodPost, "/v1/messages", ask("[[hang]]", "")).WithContext(ctx))
		synctest.Wait()
		if w := post(t, s, ask("hi", "")); w.Code != statusOverloaded {
			t.Errorf("status %d", w.Code)
		}
		leave()
		synctest.Wait()
		if w := post(t, s, ask("hi", "")); w.Code != http.StatusOK {
			t.Errorf("status %d after the other has left", w.Code)
		}
		if stats := s.Stats(); stats.Cancelled != 1 || stats.MaxInFlight != 2 {
			t.Errorf("stats %+v", stats)
		}
	})
}

func TestRequestsAreKeptAndForgotten(t *testing.T) {
	s := New(Options{KeepBodies: 2})
	for _, prompt := range []string{"one", "two", "three"} {
		post(t, s, ask(prompt, ""))
	}
	got := s.Requests()
	if len(got) != 2 || string(got[0].Body) != ask("two", "") || string(got[1].Body) != ask("three", "") {
		t.Fatalf("kept %s", got)
	}
	if got[0].Method != http.MethodPost || got[0].Path != "/v1/messages" || got[0].Header.Get("X-Api-Key") != "sk-simulator" || got[0].Time.IsZero() {
		t.Errorf("kept %+v", got[0])
	}
	got[0].Body[0], got[0].Header = 'x', nil
	if again := s.Requests(); string(again[0].Body) != ask("two", "") || again[0].Header == nil {
		t.Error("Requests gave what it keeps, not a copy")
	}
	s.Reset()
	if stats := s.Stats(); len(s.Requests()) != 0 || len(stats.Requests) != 0 {
		t.Errorf("after a reset: %d requests, %+v", len(s.Requests()), stats)
	}
	post(t, s, ask("four", ""))
	if len(s.Requests()) != 1 {
		t.Errorf("%d requests after the reset", len(s.Requests()))
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := New(Options{}).Wait(ctx, func(Stats) bool { return false }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestStatsOverHTTP(t *testing.T) {
	s := New(Options{KeepBodies: 5})
	post(t, s, ask("hi", `,"stream":true`))
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/simulator/stats", nil))
	var got Stats
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Requests["/v1/messages"] != 1 || got.Streams != 1 || got.InFlight != 0 || got.MaxInFlight != 1 || len(s.Requests()) != 1 {
		t.Errorf("stats %+v", got)
	}
	w = httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/simulator/else", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("status %d", w.Code)
	}
}

func TestBodyTooLarge(t *testing.T) {
	r := newRequest(t, http.MethodPost, "/v1/messages", "{}")
	r.ContentLength = maxBody + 1
	w := httptest.NewRecorder()
	New(Options{}).ServeHTTP(w, r)
	if e := readError(t, w); w.Code != http.StatusRequestEntityTooLarge || e.Error.Type != "request_too_large" {
		t.Errorf("%d %+v", w.Code, e)
	}
}

func TestStreamOverHTTP2(t *testing.T) {
	server := httptest.NewUnstartedServer(New(Options{}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	response, err := server.Client().Do(newRequest(t, http.MethodPost, server.URL+"/v1/messages", ask("hi", `,"stream":true`)))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil || response.ProtoMajor != 2 || !strings.HasSuffix(string(body), "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n") {
		t.Errorf("%s %s %v", response.Proto, body, err)
	}
}

func TestStartRefusesABadAddress(t *testing.T) {
	s := New(Options{})
	for _, addr := range []string{"nonsense", "127.0.0.1:99999999"} {
		if url, err := s.Start(addr); err == nil {
			t.Errorf("%s: listens on %s", addr, url)
		}
	}
	s.Close() // nothing to close
}
