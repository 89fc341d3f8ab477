package clienttest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"claude-code-api-service/internal/simulator"
)

// seen is a request that reached the upstream.
type seen struct {
	Path   string      `json:"path"`
	Header http.Header `json:"header"`
	// Body is null where there was none.
	Body json.RawMessage `json:"body"`
	// Left says that its caller was gone before the answer's end.
	Left bool `json:"left"`
}

// upstream is a simulator that keeps every request and how it ended. It is safe
// for concurrent use.
type upstream struct {
	simulator *simulator.Simulator
	url       string

	mu      sync.Mutex
	seen    []*seen
	changed chan struct{} // closed, and made anew, at each change
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{simulator: simulator.New(simulator.Options{}), changed: make(chan struct{})}
	u.url = listen(t, u)
	return u
}

// listen serves on loopback for the length of the test.
func listen(t *testing.T, handler http.Handler) (url string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler} //nolint:gosec // loopback, for a test
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener) // ends with Close
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	return "http://" + listener.Addr().String()
}

// ServeHTTP keeps the request and has the simulator answer it.
func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller left: nobody to tell
	}
	kept := &seen{Path: r.URL.Path, Header: r.Header.Clone()}
	if json.Valid(body) {
		kept.Body = body
	}
	u.change(func() { u.seen = append(u.seen, kept) })
	// Deferred, because the simulator cuts a connection by a panic.
	defer func() {
		if r.Context().Err() != nil {
			u.change(func() { kept.Left = true })
		}
	}()
	r.Body = io.NopCloser(bytes.NewReader(body))
	u.simulator.ServeHTTP(w, r)
}

func (u *upstream) change(f func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f()
	close(u.changed)
	u.changed = make(chan struct{})
}

// with gives copies of the requests whose body holds the text, and what tells of
// the next change.
func (u *upstream) with(text string) (found []seen, changed <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, s := range u.seen {
		if bytes.Contains(s.Body, []byte(text)) {
			found = append(found, *s)
		}
	}
	return found, u.changed
}

// left waits until every request with the text, at least one, was left by its
// caller.
func (u *upstream) left(ctx context.Context, text string) error {
	for {
		found, changed := u.with(text)
		gone := len(found) > 0
		for _, s := range found {
			gone = gone && s.Left
		}
		if gone {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// one gives the body of the last request with the text.
func (u *upstream) one(t *testing.T, text string) string {
	t.Helper()
	found, _ := u.with(text)
	if len(found) == 0 {
		t.Fatalf("nothing with %q reached the upstream", text)
	}
	return string(found[len(found)-1].Body)
}

// servedBy checks which backend sent the requests with the text: Claude Code
// names itself to the upstream.
func (u *upstream) servedBy(t *testing.T, backend, text string) {
	t.Helper()
	found, _ := u.with(text)
	for _, s := range found {
		agent := s.Header.Get("User-Agent")
		if isCLI := strings.HasPrefix(agent, "claude-cli/"); isCLI != (backend == "cli") {
			t.Errorf("served by %q", agent)
		}
	}
	if len(found) == 0 {
		t.Errorf("nothing with %q reached the upstream", text)
	}
}

// hasInOrder checks that the texts stand in a body in this order.
func hasInOrder(t *testing.T, body string, texts ...string) {
	t.Helper()
	rest := body
	for _, text := range texts {
		_, after, ok := strings.Cut(rest, text)
		if !ok {
			t.Fatalf("%q isn't behind the one before in %s", text, body)
		}
		rest = after
	}
}
