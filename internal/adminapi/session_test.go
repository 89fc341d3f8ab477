package adminapi_test

import (
	"crypto/tls"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/adminapi"
	"claude-code-api-service/internal/apikey"
)

const pathSession = "/admin/v1/session"

func TestSession(t *testing.T) {
	s, closing := newStand(t, nil)
	defer closing()
	cookie := s.signIn(t)
	if cookie.Name != "claude_api_session" || cookie.Path != "/admin/v1" || !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Secure ||
		cookie.MaxAge != 12*60*60 || len(cookie.Value) != 64 || cookie.Domain != "" {
		t.Errorf("the cookie is %+v", cookie)
	}
	secure := s.ask(t, http.MethodPost, pathSession, `{"key":"`+s.admin+`"}`, func(r *http.Request) { r.TLS = &tls.ConnectionState{} })
	if secure.cookie == nil || !secure.cookie.Secure || secure.cookie.Value == cookie.Value {
		t.Errorf("over TLS it is %+v", secure.cookie)
	}

	a := s.ask(t, http.MethodGet, pathSession, "", by(cookie))
	var view struct {
		KeyID   string    `json:"key_id"`
		Name    string    `json:"name"`
		Expires time.Time `json:"expires_at"`
	}
	if err := json.Unmarshal([]byte(a.body), &view, json.RejectUnknownMembers(true)); err != nil || view.KeyID != s.adminID || view.Name != "the boss" ||
		time.Until(view.Expires) > 12*time.Hour || time.Until(view.Expires) < 11*time.Hour || a.cookie != nil {
		t.Errorf("%d %s, %v", a.status, a.body, err)
	}
	// What is in the database opens nothing.
	documents, err := s.options.Archive.List(t.Context(), "admin-session", "sessions")
	if err != nil || len(documents) != 2 {
		t.Fatalf("%d sessions are kept, %v", len(documents), err)
	}
	for _, d := range documents {
		if strings.Contains(d.ID+string(d.Body), cookie.Value) || strings.Contains(string(d.Body), s.admin) {
			t.Error("a cookie or a key is in the database")
		}
		if a := s.ask(t, http.MethodGet, pathSession, "", by(&http.Cookie{Name: adminapi.CookieName, Value: d.ID})); a.status != http.StatusUnauthorized {
			t.Errorf("with what is in the database: %d", a.status)
		}
	}

	a = s.ask(t, http.MethodDelete, pathSession, "", func(r *http.Request) { by(cookie)(r); r.Header.Set("X-Claude-Dashboard", "1") })
	if a.status != http.StatusNoContent || a.cookie == nil || a.cookie.MaxAge >= 0 || a.cookie.Path != "/admin/v1" {
		t.Errorf("sign out: %d %+v", a.status, a.cookie)
	}
	if a := s.ask(t, http.MethodGet, pathSession, "", by(cookie)); a.status != http.StatusUnauthorized {
		t.Errorf("signed out, and it is %d %s", a.status, a.body)
	}
	if a := s.ask(t, http.MethodGet, pathSession, "", by(secure.cookie)); a.status != http.StatusOK {
		t.Errorf("the other session: %d", a.status)
	}
	want := []string{"session.opened " + s.adminID, "session.opened " + s.adminID, "session.closed " + s.adminID}
	if got := s.audited(t); !slices.Equal(got, want) {
		t.Errorf("audited: %q", got)
	}
	if len(s.seen.entries) != 0 {
		t.Errorf("a refusal is told of where no key was tried: %+v", s.seen.entries)
	}
}

func TestSignInIsRefused(t *testing.T) {
	s, closing := newStand(t, nil)
	defer closing()
	for _, test := range []struct {
		name, body string
		status     int
		param      string
		told       bool // as a refused key
	}{
		{"a caller's key", `{"key":"` + s.key + `"}`, 403, "", true},
		{"an unknown key", `{"key":"cc_` + strings.Repeat("0", 40) + `"}`, 401, "", true},
		{"no key", `{}`, 400, "key", false},
		{"no text", `{"key":5}`, 400, "key", false},
		{"what it doesn't know", `{"key":"x","remember":true}`, 400, "remember", false},
		{"no JSON", `key=x`, 400, "", false},
		{"a list", `["x"]`, 400, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := len(s.seen.entries)
			a := s.ask(t, http.MethodPost, pathSession, test.body, nil)
			if a.status != test.status || a.param(t) != test.param || a.cookie != nil {
				t.Errorf("%d %s", a.status, a.body)
			}
			told := s.seen.entries[before:]
			if len(told) > 0 != test.told {
				t.Errorf("told of: %+v", told)
			}
			for _, e := range told {
				if !e.Refused || e.Endpoint != pathSession || e.Address != "192.0.2.1" || e.RequestID != "req_1" || e.Status != test.status {
					t.Errorf("%+v", e)
				}
			}
		})
	}
}

func TestKeys(t *testing.T) {
	s, closing := newStand(t, nil)
	defer closing()
	const path = "/admin/v1/overview"
	for _, test := range []struct {
		name   string
		with   func(r *http.Request)
		status int
		told   bool
	}{
		{"Bearer", byKey(s.admin), 200, false},
		{"x-api-key", func(r *http.Request) { r.Header.Set("x-api-key", s.admin) }, 200, false},
		{"nothing", nil, 401, false},
		{"a caller's key", byKey(s.key), 403, true},
		{"an unknown key", byKey("cc_nonsense"), 401, true},
		{"a key counts, not the cookie beside it", func(r *http.Request) { by(s.signIn(t))(r); byKey(s.key)(r) }, 403, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := len(s.seen.entries)
			a := s.ask(t, http.MethodGet, path, "", test.with)
			if told := s.seen.entries[before:]; a.status != test.status || (len(told) > 0) != test.told {
				t.Errorf("%d %s, told of %+v", a.status, a.body, told)
			}
		})
	}
}

// Another site's page can do nothing with the cookie, whatever a browser sends along.
func TestCrossSite(t *testing.T) {
	s, closing := newStand(t, func(o *adminapi.Options) { o.Kill = func(string) error { return nil } })
	defer closing()
	cookie := s.signIn(t)
	header := func(pairs ...string) func(r *http.Request) {
		return func(r *http.Request) {
			for i := 0; i < len(pairs); i += 2 {
				r.Header.Set(pairs[i], pairs[i+1])
			}
		}
	}
	for _, test := range []struct {
		name   string
		with   func(r *http.Request)
		status int
	}{
		{"our page", header("X-Claude-Dashboard", "1", "Sec-Fetch-Site", "same-origin", "Origin", "http://service.test"), 204},
		{"our page in an old browser", header("X-Claude-Dashboard", "1", "Origin", "http://service.test"), 204},
		{"a program", header("X-Claude-Dashboard", "1"), 204},
		{"a form", header("Sec-Fetch-Site", "same-origin"), 403},
		{"another site", header("X-Claude-Dashboard", "1", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test"), 403},
		{"a sibling", header("X-Claude-Dashboard", "1", "Sec-Fetch-Site", "same-site", "Origin", "http://other.service.test"), 403},
		{"another site in an old browser", header("X-Claude-Dashboard", "1", "Origin", "https://evil.test"), 403},
		{"nobody", header("X-Claude-Dashboard", "1", "Origin", "null"), 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := s.ask(t, http.MethodDelete, "/admin/v1/workers/w", "", func(r *http.Request) { by(cookie)(r); test.with(r) })
			if a.status != test.status {
				t.Errorf("with the cookie: %d %s", a.status, a.body)
			}
			// A key is in a header that no other site's page can set.
			if a := s.ask(t, http.MethodDelete, "/admin/v1/workers/w", "", func(r *http.Request) { byKey(s.admin)(r); test.with(r) }); a.status != 204 {
				t.Errorf("with a key: %d %s", a.status, a.body)
			}
		})
	}
	t.Run("sign in", func(t *testing.T) {
		a := s.ask(t, http.MethodPost, pathSession, `{"key":"`+s.admin+`"}`, header("Sec-Fetch-Site", "cross-site"))
		if a.status != http.StatusForbidden || a.cookie != nil {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

// A session ends with its key.
func TestSessionEndsWithItsKey(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(s *stand) error
		want int
	}{
		{"revoked", func(s *stand) error { _, err := s.keys.Revoke(t.Context(), s.adminID); return err }, 401},
		{"replaced at once", func(s *stand) error { _, _, err := s.keys.Rotate(t.Context(), s.adminID, 0); return err }, 401},
		{"replaced in an hour", func(s *stand) error { _, _, err := s.keys.Rotate(t.Context(), s.adminID, time.Hour); return err }, 200},
		{"another one", func(s *stand) error { _, err := s.keys.Revoke(t.Context(), s.key); return err }, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, closing := newStand(t, nil)
			defer closing()
			cookie := s.signIn(t)
			if err := test.end(s); err != nil {
				t.Fatal(err)
			}
			if a := s.ask(t, http.MethodGet, pathSession, "", by(cookie)); a.status != test.want {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
}

// A session lasts for 12 hours after its last use, 7 days at most, and not beyond its key.
func TestSessionLasts(t *testing.T) {
	uses := func(t *testing.T, s *stand, cookie *http.Cookie, after time.Duration, want int, renewed bool) {
		t.Helper()
		time.Sleep(after)
		a := s.ask(t, http.MethodGet, pathSession, "", by(cookie))
		if a.status != want || a.cookie != nil != renewed {
			t.Errorf("after %v: %d %s, cookie %v", after, a.status, a.body, a.cookie)
		}
		if renewed && (a.cookie.Value != cookie.Value || a.cookie.MaxAge <= 0 || a.cookie.MaxAge > 12*60*60) {
			t.Errorf("renewed as %+v", a.cookie)
		}
	}
	for name, test := range map[string]func(t *testing.T, s *stand, cookie *http.Cookie){
		"use renews it": func(t *testing.T, s *stand, cookie *http.Cookie) {
			uses(t, s, cookie, time.Minute, 200, false)
			uses(t, s, cookie, 11*time.Hour, 200, true)
			uses(t, s, cookie, 11*time.Hour, 200, true)
			uses(t, s, cookie, 12*time.Hour+time.Second, 401, false)
		},
		"not for ever": func(t *testing.T, s *stand, cookie *http.Cookie) {
			for range 16 {
				uses(t, s, cookie, 10*time.Hour, 200, true)
			}
			uses(t, s, cookie, 7*time.Hour+59*time.Minute, 200, true)
			uses(t, s, cookie, 2*time.Minute, 401, false)
		},
		"the key expires": func(t *testing.T, s *stand, cookie *http.Cookie) {
			at := time.Now().Add(time.Hour)
			if _, err := s.keys.Update(t.Context(), s.adminID, apikey.Update{ExpiresAt: &at}); err != nil {
				t.Fatal(err)
			}
			uses(t, s, cookie, 59*time.Minute, 200, true)
			uses(t, s, cookie, 2*time.Minute, 401, false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, closing := newStand(t, nil)
				defer closing()
				test(t, s, s.signIn(t))
			})
		})
	}
}

// Switched off, there is neither a way to sign in nor a cookie that counts; keys do.
func TestSessionsOff(t *testing.T) {
	s, closing := newStand(t, nil)
	defer closing()
	cookie := s.signIn(t)
	off := s.options
	off.Sessions = false
	s.mux = http.NewServeMux()
	s.handler.With(off).Register(s.mux)
	if a := s.ask(t, http.MethodPost, pathSession, `{"key":"`+s.admin+`"}`, nil); a.status != http.StatusNotFound {
		t.Errorf("sign in: %d", a.status)
	}
	if a := s.ask(t, http.MethodGet, "/admin/v1/overview", "", by(cookie)); a.status != http.StatusUnauthorized {
		t.Errorf("the cookie: %d", a.status)
	}
	if a := s.ask(t, http.MethodGet, "/admin/v1/overview", "", byKey(s.admin)); a.status != http.StatusOK {
		t.Errorf("the key: %d", a.status)
	}
}
