package clienttest_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"go.uber.org/goleak"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/app"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/config"
)

var (
	clients = flag.Bool("clients", false, "run the clients; without it these tests are skipped, because they need npm ci in the folder clients")
	update  = flag.Bool("update", false, "write docs/compatibility.md anew")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, clitest.IgnoreSpawner()) }

const (
	// patience bounds every wait for one thing.
	patience = 60 * time.Second
	// workers is the size of the pool: as many as one client's checks run at once.
	workers = 3
	// spentLimit are the requests per minute of a key that is used up: one more is
	// allowed every three seconds, which is what Retry-After must say. That is
	// longer than any client waits by itself before its first retry.
	spentLimit = 20
)

// stand is the service with both backends, their upstream, and a server that
// tells the clients' checks what the upstream saw.
type stand struct {
	app      *app.App
	upstream *upstream
	key      string
	control  string // the server's address
	client   *http.Client
	words    atomic.Int64
}

func newStand(t *testing.T) *stand {
	t.Helper()
	path := clitest.Path(t, install.Version)
	up := newUpstream(t)
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	service, err := app.New(t.Context(), settings(t, path, up.url), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := service.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	if err := service.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := &stand{app: service, upstream: up, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}}
	t.Cleanup(s.client.CloseIdleConnections)
	if s.key, err = s.newKey(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	s.awaitReady(t)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /upstream", s.serveUpstream)
	mux.HandleFunc("POST /left", s.serveLeft)
	mux.HandleFunc("POST /spent", s.serveSpent)
	s.control = listen(t, mux)
	return s
}

// within gives a context that ends with the test or with patience.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// awaitReady waits until the workers are there; nothing tells of it.
func (s *stand) awaitReady(t *testing.T) {
	t.Helper()
	ctx := within(t)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		status, err := s.post(ctx, http.MethodGet, "/ready", "", "")
		if err == nil && status == http.StatusOK {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the service isn't ready: %d %v", status, err)
		}
	}
}

// post makes a request on the direct path and gives the status.
func (s *stand) post(ctx context.Context, method, path, key, body string) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, method, s.app.URL()+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("X-Api-Key", key)
	r.Header.Set("X-Claude-Backend", "direct")
	response, err := s.client.Do(r)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

func (s *stand) newKey(ctx context.Context, perMinute int) (string, error) {
	text, _, err := s.app.Keys().Create(ctx, apikey.Create{ProjectID: "clients", Profile: "enterprise", RequestsPerMinute: &perMinute})
	return text, err
}

// spentKey gives a key whose requests are used up but for one more every three
// seconds.
func (s *stand) spentKey(ctx context.Context) (string, error) {
	key, err := s.newKey(ctx, spentLimit)
	if err != nil {
		return "", err
	}
	for range 10 * spentLimit {
		status, err := s.post(ctx, http.MethodPost, "/v1/messages", key, `{"model":"haiku","max_tokens":1,"messages":[{"role":"user","content":"spend"}]}`)
		switch {
		case err != nil:
			return "", err
		case status == http.StatusTooManyRequests:
			return key, nil
		case status != http.StatusOK:
			return "", fmt.Errorf("spend a key: status %d", status)
		}
	}
	return "", fmt.Errorf("a key with %d requests a minute is never used up", spentLimit)
}

// word gives a text that nobody used before.
func (s *stand) word(text string) string {
	return fmt.Sprintf("the quick brown %s %d", text, s.words.Add(1))
}

func (s *stand) serveUpstream(w http.ResponseWriter, r *http.Request) {
	found, _ := s.upstream.with(inJSON(r.URL.Query().Get("text")))
	reply(w, found, nil)
}

func (s *stand) serveLeft(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience/2)
	defer cancel()
	reply(w, true, s.upstream.left(ctx, inJSON(r.URL.Query().Get("text"))))
}

func (s *stand) serveSpent(w http.ResponseWriter, r *http.Request) {
	key, err := s.spentKey(r.Context())
	reply(w, map[string]string{"key": key}, err)
}

// inJSON writes a text as it stands inside a JSON string.
func inJSON(text string) string {
	quoted, _ := json.Marshal(text) //nolint:errchkjson // a string always has a JSON form
	return string(quoted[1 : len(quoted)-1])
}

func reply(w http.ResponseWriter, value any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // the caller left: nobody to tell
}

// required says whether a missing client is a failure, as a missing CLI is.
func required() bool { return os.Getenv(clitest.RequireVariable) == "1" }

// settings are the service's defaults and what the test needs besides. The
// machine's own variables don't count.
func settings(t *testing.T, cli, upstreamURL string) *config.Config {
	t.Helper()
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		t.Setenv(name, "") // so that it comes back
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	var c config.Config
	parser, err := kong.New(&c, kong.Vars{"data_dir": t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"--listen=127.0.0.1:0", "--claude-path=" + cli, fmt.Sprintf("--max-workers=%d", workers), "--sdk-max-retries=0"}); err != nil {
		t.Fatal(err)
	}
	c.Anthropic = config.Anthropic{BaseURL: upstreamURL, APIKey: "sk-ant-planted-0123456789"}
	return &c
}
