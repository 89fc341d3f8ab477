package adminapi_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/adminapi"
	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/monitor"
	"claude-code-api-service/internal/sqlite"
)

// stand is the endpoints of who asks and what is seen, over a real store. It has no
// network of its own, so that it also works in a time of its own.
type stand struct {
	options adminapi.Options
	handler *adminapi.Handler
	mux     *http.ServeMux
	db      *sqlite.DB
	keys    *apikey.Keys
	seen    *observed
	// look has the authenticator look for changes of keys.
	look func()
	// admin is the text of an admin key, and adminID its id; key is a caller's.
	admin, adminID, key string
}

// newStand makes a stand. close must be called before the test's end.
func newStand(t *testing.T, change func(o *adminapi.Options)) (s *stand, closing func()) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "usage.db"), Synchronous: "NORMAL"})
	if err != nil {
		t.Fatal(err)
	}
	s = &stand{db: db, keys: apikey.NewKeys(apikey.Options{Store: db}), seen: &observed{}, mux: http.NewServeMux()}
	// It looks for changes seldom, for tests in which days go by, or when it is told to.
	authenticator := apikey.NewAuthenticator(apikey.AuthenticatorOptions{Store: db, Interval: time.Hour})
	watching, end := context.WithCancel(context.WithoutCancel(t.Context()))
	s.look = authenticator.Look
	watched := make(chan struct{})
	go func() { defer close(watched); authenticator.Watch(watching) }()
	s.options = adminapi.Options{
		Authenticator: authenticator, Keys: s.keys, Audit: db, Observer: s.seen, Sessions: true, Archive: archive.New(archive.Options{Store: db}),
		Monitor: monitor.New(monitor.Options{}), State: func() adminapi.State { return adminapi.State{Version: "1.2.3", Status: "ok"} },
	}
	if change != nil {
		change(&s.options)
	}
	s.handler = adminapi.New(s.options)
	s.handler.Register(s.mux)
	var k apikey.Key
	if s.admin, k, err = s.keys.Create(t.Context(), apikey.Create{ProjectID: "ops", Name: "the boss", Admin: true}); err != nil {
		t.Fatal(err)
	}
	s.adminID = k.ID
	if s.key, _, err = s.keys.Create(t.Context(), apikey.Create{ProjectID: "alpha", Name: "a caller"}); err != nil {
		t.Fatal(err)
	}
	return s, func() {
		_ = s.handler.Stop(t.Context())
		end()
		<-watched
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

// answer is what one request got.
type answer struct {
	status int
	header http.Header
	body   string
	cookie *http.Cookie // that was set; nil: none was
}

// param gives which member of the request an error is about.
func (a *answer) param(t *testing.T) string {
	t.Helper()
	var e struct {
		Detail string `json:"detail"`
		Error  struct {
			Message string  `json:"message"`
			Type    string  `json:"type"`
			Param   *string `json:"param"`
			Code    string  `json:"code"`
		} `json:"error"`
	}
	if err := json.Unmarshal([]byte(a.body), &e); err != nil || e.Detail == "" || e.Detail != e.Error.Message || e.Error.Type == "" || e.Error.Code == "" {
		t.Fatalf("no envelope: %d %s", a.status, a.body)
	}
	if e.Error.Param == nil {
		return ""
	}
	return *e.Error.Param
}

// ask sends a request; with changes it, and may be nil.
func (s *stand) ask(t *testing.T, method, path, body string, with func(r *http.Request)) answer {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "http://service.test"+path, strings.NewReader(body))
	if with != nil {
		with(r)
	}
	w := httptest.NewRecorder()
	w.Header().Set("X-Request-Id", "req_1") // as the server does
	s.mux.ServeHTTP(w, r)
	result := w.Result()
	defer func() { _ = result.Body.Close() }()
	data, err := io.ReadAll(result.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: result.StatusCode, header: result.Header, body: string(data)}
	for _, c := range result.Cookies() {
		a.cookie = c
	}
	if _, pattern := s.mux.Handler(r); pattern != "" && a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s %s: Cache-Control is %q", method, path, a.header.Get("Cache-Control"))
	}
	return a
}

func byKey(key string) func(r *http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+key) }
}

// signIn opens a session and gives its cookie.
func (s *stand) signIn(t *testing.T) *http.Cookie {
	t.Helper()
	a := s.ask(t, http.MethodPost, "/admin/v1/session", `{"key":"`+s.admin+`"}`, nil)
	if a.status != http.StatusNoContent || a.cookie == nil {
		t.Fatalf("sign in: %d %s", a.status, a.body)
	}
	return a.cookie
}

func by(cookie *http.Cookie) func(r *http.Request) {
	return func(r *http.Request) { r.AddCookie(cookie) }
}

// audited gives the actions of the audit log, and holds who did them to the admin key.
func (s *stand) audited(t *testing.T) (actions []string) {
	t.Helper()
	events, err := s.db.ListAudit(t.Context(), 0, 100, audit.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Actor != s.adminID || e.RequestID != "req_1" || e.Address != "192.0.2.1" || time.Since(e.Time) > time.Minute {
			t.Errorf("%+v", e)
		}
		actions = append(actions, e.Action+" "+e.Target)
	}
	return actions
}
