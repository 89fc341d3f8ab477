package adminapi_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/adminapi"
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/gateway"
)

// counted counts how often documents are looked for.
type counted struct {
	archive.Store
	looks atomic.Int64
	// put is called before a document is kept; nil: nothing is.
	put func(d archive.Document)
}

func (c *counted) Document(ctx context.Context, kind, keyID, id string) (archive.Document, error) {
	c.looks.Add(1)
	return c.Store.Document(ctx, kind, keyID, id)
}

func (c *counted) PutDocument(ctx context.Context, d archive.Document) error {
	if c.put != nil {
		c.put(d)
	}
	return c.Store.PutDocument(ctx, d)
}

// Whoever makes up cookies is slowed down as who tries keys, and what can't be a cookie
// asks the database nothing. Nobody waits who has a good one.
func TestMadeUpCookies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, closing := newStand(t, nil)
		defer closing()
		store := &counted{Store: s.db}
		s.options.Archive = archive.New(archive.Options{Store: store})
		s.mux = http.NewServeMux()
		s.handler.With(s.options).Register(s.mux)
		good := s.signIn(t)
		try := func(value string) (status int, took time.Duration) {
			began := time.Now()
			a := s.ask(t, http.MethodGet, "/admin/v1/overview", "", by(&http.Cookie{Name: adminapi.CookieName, Value: value}))
			return a.status, time.Since(began)
		}
		for _, value := range []string{"", "x", strings.Repeat("a", 63), strings.Repeat("a", 4000)} {
			if status, _ := try(value); status != http.StatusUnauthorized {
				t.Errorf("%d letters: %d", len(value), status)
			}
		}
		if n := store.looks.Load(); n != 0 {
			t.Errorf("what can't be a cookie was looked for %d times", n)
		}
		slow := time.Duration(0)
		for range 30 {
			status, took := try(strings.Repeat("a", 64))
			if status != http.StatusUnauthorized && status != http.StatusTooManyRequests {
				t.Errorf("made up: %d", status)
			}
			slow = max(slow, took)
		}
		if slow < time.Second {
			t.Errorf("none of 30 waited for more than %v", slow)
		}
		if status, took := try(good.Value); status != http.StatusOK || took > 0 {
			t.Errorf("a good one: %d after %v", status, took)
		}
	})
}

// A page of another origin makes nothing be read with the cookie either.
func TestCookieIsForOurPages(t *testing.T) {
	s, closing := newStand(t, nil)
	defer closing()
	cookie := s.signIn(t)
	for site, want := range map[string]int{"": 200, "same-origin": 200, "none": 200, "same-site": 403, "cross-site": 403} {
		with := func(r *http.Request) {
			if site != "" {
				r.Header.Set("Sec-Fetch-Site", site)
			}
		}
		if a := s.ask(t, http.MethodGet, "/admin/v1/overview", "", func(r *http.Request) { by(cookie)(r); with(r) }); a.status != want {
			t.Errorf("%q: %d %s", site, a.status, a.body)
		}
		if a := s.ask(t, http.MethodGet, "/admin/v1/overview", "", func(r *http.Request) { byKey(s.admin)(r); with(r) }); a.status != http.StatusOK {
			t.Errorf("%q with a key: %d %s", site, a.status, a.body)
		}
	}
}

// Anybody may send a sign-in: not much of one is read.
func TestALongSignIn(t *testing.T) {
	s, closing := newStand(t, nil)
	defer closing()
	if a := s.ask(t, http.MethodPost, pathSession, `{"key":"`+strings.Repeat("x", 5000)+`"}`, nil); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// A sign-out holds although a request renews the session at the same moment.
func TestSignOutWhileItIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, closing := newStand(t, nil)
		defer closing()
		store := &counted{Store: s.db}
		s.options.Archive = archive.New(archive.Options{Store: store})
		s.mux = http.NewServeMux()
		s.handler.With(s.options).Register(s.mux)
		cookie := s.signIn(t)
		time.Sleep(time.Hour)
		signedOut := 0
		store.put = func(archive.Document) {
			store.put = nil
			signedOut = s.ask(t, http.MethodDelete, pathSession, "", func(r *http.Request) {
				by(cookie)(r)
				r.Header.Set("X-Claude-Dashboard", "1")
			}).status
		}
		// This one has found the session, and is about to keep it.
		a := s.ask(t, http.MethodGet, pathSession, "", by(cookie))
		if signedOut != http.StatusUnauthorized && signedOut != http.StatusNoContent {
			t.Fatalf("sign out: %d", signedOut)
		}
		if a.status != http.StatusUnauthorized || a.cookie != nil {
			t.Errorf("it was renewed: %d, cookie %v", a.status, a.cookie)
		}
		if a := s.ask(t, http.MethodGet, pathSession, "", by(cookie)); a.status != http.StatusUnauthorized {
			t.Errorf("signed out, and it is %d %s", a.status, a.body)
		}
	})
}

// A dashboard that is switched off ends the streams that cookies have opened.
func TestSwitchedOffWhileFollowed(t *testing.T) {
	var off atomic.Bool
	s, closing := newStand(t, func(o *adminapi.Options) { o.Off = off.Load })
	server := httptest.NewServer(s.mux)
	defer closing()
	defer server.Close()
	f, _ := follow(t, server.URL, by(s.signIn(t)))
	other, _ := follow(t, server.URL, byKey(s.admin))
	f.await(t, "overview", anything)
	other.await(t, "overview", anything)
	off.Store(true)
	f.await(t, "end", anything)
	other.await(t, "overview", anything)
	other.await(t, "overview", anything)
	if err := s.handler.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// What is asked for in a key's name in the playground ends with the right to ask.
func TestPlaygroundEndsWithItsKey(t *testing.T) {
	h := newHall(t)
	began, ended := make(chan struct{}), make(chan error, 1)
	h.backend.answer = func(ctx context.Context, _ *gateway.Call, _ gateway.EventWriter) (gateway.Result, error) {
		close(began)
		select {
		case <-ctx.Done():
		case <-time.After(patience):
		}
		ended <- ctx.Err()
		return gateway.Result{}, ctx.Err()
	}
	revoked := make(chan error, 1)
	go func() {
		<-began
		_, err := h.keys.Revoke(t.Context(), h.adminID)
		revoked <- err
	}()
	h.ask(t, http.MethodPost, "/playground/chat", `{"key_id":"`+h.keyID+`","model":"haiku","prompt":"hello"}`)
	if err := <-revoked; err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("it goes on without its key")
	}
}
