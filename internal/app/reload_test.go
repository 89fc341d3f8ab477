package app

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/config"
)

const hello = `{"model":"haiku","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}`

// counted puts in front of a configuration's upstream what counts its requests by
// their credential.
func counted(t *testing.T, c *config.Config) func(key string) int64 {
	t.Helper()
	target, err := url.Parse(c.Anthropic.BaseURL)
	if err != nil {
		t.Fatal(err)
	}
	var keys sync.Map
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{DisableKeepAlives: true}, FlushInterval: -1,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := keys.LoadOrStore(r.Header.Get("X-Api-Key"), new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	c.Anthropic.BaseURL = server.URL
	return func(key string) int64 {
		n, ok := keys.Load(key)
		if !ok {
			return 0
		}
		return n.(*atomic.Int64).Load()
	}
}

func endless(t *testing.T, a *App) string {
	t.Helper()
	key, _, err := a.Keys().Create(t.Context(), apikey.Create{ProjectID: "p", RequestsPerMinute: new(int)})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestReloadUnderLoad reads another configuration, with another credential, again
// and again while requests run. None of them may fail; a stream that began with the
// first credential goes on with it; and requests that begin afterwards have the last.
func TestReloadUnderLoad(t *testing.T) {
	c := settings(t)
	uses := counted(t, c)
	a, _ := serving(t, c)
	key := endless(t, a)

	stream, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.URL()+"/v1/messages", strings.NewReader(
		strings.Replace(strings.Replace(hello, "hello", "[[tokens=9 interval=100ms]]", 1), "{", `{"stream":true,`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	stream.Header.Set("X-Api-Key", key)
	response, err := http.DefaultTransport.(*http.Transport).Clone().RoundTrip(stream)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewReader(response.Body)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}

	load, stop := context.WithCancel(t.Context())
	defer stop()
	var callers sync.WaitGroup
	var served atomic.Int64
	for range 4 {
		callers.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for load.Err() == nil {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.URL()+"/v1/messages", strings.NewReader(hello))
				if err != nil {
					t.Error(err)
					return
				}
				r.Header.Set("X-Api-Key", key)
				response, err := client.Do(r)
				if err != nil {
					t.Errorf("a request failed: %v", err)
					return
				}
				body, err := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if response.StatusCode != http.StatusOK || err != nil {
					t.Errorf("a request failed: %d %s, %v", response.StatusCode, body, err)
					return
				}
				served.Add(1)
			}
		})
	}
	for i := range 20 {
		for before := served.Load(); served.Load() < before+3 && !t.Failed(); {
			time.Sleep(time.Millisecond) // the load is what this waits for
		}
		next := *c
		next.Anthropic.APIKey = config.Secret("sk-" + string(rune('a'+i)))
		next.Strict = i%2 == 0
		if err := a.Reload(t.Context(), &next); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	callers.Wait()
	rest, err := io.ReadAll(lines)
	if err != nil || !strings.Contains(string(rest), "message_stop") {
		t.Errorf("the stream that ran meanwhile ended with %v: %.300s", err, rest)
	}
	if uses("sk-planted") == 0 || uses("sk-a") == 0 {
		t.Error("a credential was never used")
	}
	before := uses("sk-t")
	if status, body := ask(t, a, "POST", "/v1/messages", key, hello); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	if uses("sk-t") != before+1 {
		t.Error("a new request hasn't the last credential")
	}
	t.Logf("%d requests", served.Load())
}

// TestReload changes what may be changed.
func TestReload(t *testing.T) {
	c := settings(t)
	a, key := serving(t, c)
	reload := func(change func(c *config.Config)) {
		t.Helper()
		next := *c
		change(&next)
		if err := a.Reload(t.Context(), &next); err != nil {
			t.Fatal(err)
		}
	}
	house := strings.Replace(hello, "haiku", "house", 1)
	if status, _ := ask(t, a, "POST", "/v1/messages", key, house); status != http.StatusNotFound {
		t.Fatalf("a model that isn't: %d", status)
	}
	reload(func(c *config.Config) { c.ModelMap = map[string]string{"house": "haiku"} })
	if status, body := ask(t, a, "POST", "/v1/messages", key, house); status != http.StatusOK {
		t.Errorf("a model that is configured now: %d %s", status, body)
	}
	reload(func(c *config.Config) { c.MaxBodyBytes = 20 })
	for _, path := range []string{"/v1/messages", "/v1/chat/completions", "/v1/process", "/v1/responses", "/v1/batch"} {
		if status, _ := ask(t, a, "POST", path, key, hello); status != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: a body larger than the new limit: %d", path, status)
		}
	}
	if a.once == nil || a.now().config.MaxBodyBytes != 20 {
		t.Error("the configuration isn't the present one")
	}
	reload(func(c *config.Config) { c.CORSOrigin = []string{"https://app.example"} })
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL()+"/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Origin", "https://app.example")
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.Header.Get("Access-Control-Allow-Origin") != "https://app.example" {
		t.Errorf("the new origin: %v", response.Header)
	}
}

// TestReloadRefused: a configuration that can't be used changes nothing.
func TestReloadRefused(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := settings(t)
	c.TLSCert, c.TLSKey = pair(t, t.TempDir(), "first")
	a, err := New(t.Context(), c, silent())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Stop(context.Background()) })
	before, certificate := a.now(), a.certificate.current.Load()
	newCert, newKey := pair(t, t.TempDir(), "second")
	for name, change := range map[string]func(c *config.Config){
		"prices":             func(c *config.Config) { c.Prices = broken },
		"a log level":        func(c *config.Config) { c.LogLevel = "loud" },
		"no credential":      func(c *config.Config) { c.Anthropic = config.Anthropic{} },
		"an upstream":        func(c *config.Config) { c.Anthropic.BaseURL = "nowhere" },
		"a model's name":     func(c *config.Config) { c.ModelMap = map[string]string{"ext": "gpt-5"} },
		"a fallback":         func(c *config.Config) { c.Fallback = []string{"cli:nowhere-at-all:x"} },
		"a certificate":      func(c *config.Config) { c.TLSCert = broken },
		"a webhook":          func(c *config.Config) { c.WebhookURL, c.WebhookSecret = "http://elsewhere.example", "x" },
		"a webhook's secret": func(c *config.Config) { c.WebhookURL, c.WebhookSecret = "https://elsewhere.example", "x" },
	} {
		t.Run(name, func(t *testing.T) {
			next := *c
			next.Strict, next.TLSCert, next.TLSKey = true, newCert, newKey
			change(&next)
			if err := a.Reload(t.Context(), &next); err == nil {
				t.Error("it was taken")
			} else if strings.Contains(err.Error(), "sk-planted") {
				t.Errorf("the credential is in %v", err)
			}
			if a.now() != before || a.certificate.current.Load() != certificate {
				t.Error("something has changed")
			}
		})
	}
}
