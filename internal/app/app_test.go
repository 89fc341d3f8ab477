package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/postgres/pgtest"
	"claude-code-api-service/internal/simulator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main(m), clitest.IgnoreSpawner()) }

// settings are those of a service on the direct path alone.
func settings(t *testing.T) *config.Config {
	t.Helper()
	upstream := simulator.New(simulator.Options{})
	url, err := upstream.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(upstream.Close)
	return &config.Config{
		Listen: "127.0.0.1:0", ClaudePath: "off", MaxWorkers: 1, PoolReuse: "same-project", MaxBodyBytes: 1 << 20,
		SDKTimeout: config.Seconds(time.Minute), ShutdownTimeout: config.Seconds(10 * time.Second), LogLevel: "error",
		Data:      config.Data{DataDir: t.TempDir(), Synchronous: "NORMAL"},
		Anthropic: config.Anthropic{BaseURL: url, APIKey: "sk-planted"},
	}
}

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

// ask makes one request and gives status and body.
func ask(t *testing.T, a *App, method, path, key, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, a.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", key)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(got)
}

// TestEmbedded runs the service inside another program.
func TestEmbedded(t *testing.T) {
	a, err := New(t.Context(), settings(t), silent())
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	key, _, err := a.Keys().Create(t.Context(), apikey.Create{ProjectID: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if status, body := ask(t, a, "GET", "/ready", "", ""); status != http.StatusOK {
		t.Errorf("ready: %d %s", status, body)
	}
	const prompt = `{"model":"haiku","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}`
	if status, body := ask(t, a, "POST", "/v1/messages", key, prompt); status != http.StatusOK || !strings.Contains(body, "Echo: hello") {
		t.Errorf("%d %s", status, body)
	}
	// The CLI is off, and whoever asks for it is told so.
	status, body := ask(t, a, "POST", "/v1/messages", key, strings.Replace(prompt, "{", `{"use_cli":true,`, 1))
	if status != http.StatusBadRequest || !strings.Contains(body, "use_cli") || !strings.Contains(body, "available: direct") {
		t.Errorf("the CLI that is off: %d %s", status, body)
	}
	if _, body := ask(t, a, "GET", "/health", "", ""); !strings.Contains(body, `"status":"ok"`) || !strings.Contains(body, `"cli":{"status":"off"`) {
		t.Errorf("health: %s", body)
	}
	for range 2 {
		if err := a.Stop(t.Context()); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
	if _, err := net.DialTimeout("tcp", strings.TrimPrefix(a.URL(), "http://"), time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the end its address answers %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(c *config.Config)
		want   error
		text   string
	}{
		{"nothing to serve with", func(c *config.Config) { c.Anthropic = config.Anthropic{} }, ErrNoBackend, ""},
		{"a missing CLI alone", func(c *config.Config) { c.Anthropic, c.ClaudePath = config.Anthropic{}, file+"x" }, ErrNoBackend, file + "x"},
		{"a data folder that is a file", func(c *config.Config) { c.DataDir = file }, syscall.ENOTDIR, file},
		{"an upstream that is no URL", func(c *config.Config) { c.Anthropic.BaseURL = "nowhere" }, nil, "nowhere"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := settings(t)
			tt.change(c)
			a, err := New(t.Context(), c, silent())
			if err == nil {
				t.Fatal(errors.Join(errors.New("it was made"), a.Stop(t.Context())))
			}
			if tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v", err)
			}
			if strings.Contains(err.Error(), "sk-planted") {
				t.Errorf("the credential is in %v", err)
			}
		})
	}
}

func TestStartOnATakenAddress(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	c := settings(t)
	c.Listen = listener.Addr().String()
	a, err := New(t.Context(), c, silent())
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v", err)
	}
	// Another address may be tried, as the demo does.
	c.Listen = "127.0.0.1:0"
	if err := a.Start(t.Context()); err != nil {
		t.Errorf("a second try: %v", err)
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// TestStopWithoutStart gives back what New opened.
func TestStopWithoutStart(t *testing.T) {
	a, err := New(t.Context(), settings(t), silent())
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestRun(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := Run(ctx, settings(t), nil); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	c := settings(t)
	c.LogLevel = "loud"
	if err := Run(t.Context(), c, nil); err == nil || !strings.Contains(err.Error(), "--log-level") {
		t.Errorf("a wrong log level: %v", err)
	}
}

// untilServing is a log's handler that tells when the service serves.
type untilServing struct {
	slog.Handler
	serving chan struct{}
}

func (u untilServing) Enabled(context.Context, slog.Level) bool { return true }

func (u untilServing) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "serving" {
		close(u.serving)
	}
	return nil
}

// TestASignalWhileStarting finds the service serving already: it is stopped like any
// other.
func TestASignalWhileStarting(t *testing.T) {
	log := untilServing{slog.DiscardHandler, make(chan struct{})}
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGTERM
	ctx, cancel := context.WithCancel(t.Context())
	a, stopped, err := start(ctx, func() { <-log.serving; cancel() }, settings(t), slog.New(log), nil, signals)
	if a != nil || !stopped || err != nil {
		t.Errorf("stopped: %v, %v", stopped, err)
	}
}

func TestInherited(t *testing.T) {
	t.Setenv("LET_THROUGH", "a value")
	t.Setenv("EMPTY", "")
	t.Setenv("KEPT_BACK", "a secret")
	got := inherited([]string{"LET_THROUGH", "EMPTY", "NOT_SET_ANYWHERE"})
	if len(got) != 2 || got[0] != "LET_THROUGH=a value" || got[1] != "EMPTY=" {
		t.Errorf("got %q", got)
	}
}

// TestRunFolder removes what services that were killed left, and nothing of
// those that run.
func TestRunFolder(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "workers")
	running, err := newRunFolder(parent, silent())
	if err != nil {
		t.Fatal(err)
	}
	killed := filepath.Join(parent, runPrefix+"0123456789abcdef")
	if err := os.MkdirAll(filepath.Join(killed, "worker-1", "home"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(killed, lockName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	beingMade := filepath.Join(parent, runPrefix+"being-made") // not locked yet
	if err := os.Mkdir(beingMade, 0o700); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(parent, "the operator's own")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	// It points at what isn't a run's.
	planted := filepath.Join(parent, runPrefix+"fedcba9876543210")
	if err := os.Symlink(killed, planted); err != nil {
		t.Fatal(err)
	}

	next, err := newRunFolder(parent, silent())
	if err != nil {
		t.Fatal(err)
	}
	if next.marker == running.marker || next.path == running.path {
		t.Errorf("two runs share %s", next.path)
	}
	for path, want := range map[string]bool{running.path: true, killed: false, beingMade: true, other: true, planted: true, next.path: true} {
		_, err := os.Lstat(path)
		if (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
	if info, err := os.Stat(next.path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others may read %v, %v", info.Mode(), err)
	}
	for _, run := range []*runFolder{running, next} {
		if err := run.remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(run.path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", run.path, err)
		}
	}
	if _, err := newRunFolder(filepath.Join(other, "\x00"), silent()); err == nil {
		t.Error("an impossible folder was made")
	}
}
