package agent_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/goleak"

	"claude-code-api-service/internal/admission"
	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/anthropic"
	"claude-code-api-service/internal/anthropicapi"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/meter"
	"claude-code-api-service/internal/pricing"
	"claude-code-api-service/internal/route"
	"claude-code-api-service/internal/simulator"
	"claude-code-api-service/internal/sqlite"
	"claude-code-api-service/internal/usage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, clitest.IgnoreSpawner()) }

const (
	testModel = "claude-haiku-5-5"
	// credential is the service's own, which no process may see.
	credential = "sk-of-the-service"
)

// service is a Runner on the real CLI, whose calls go through a real meter to the
// simulator.
type service struct {
	*agent.Runner
	upstream *simulator.Simulator
	home     string // the configured one
	folder   string // agents'
	root     string // the processes'
	marker   string
}

// newService makes one for a version of the CLI; files are those of the configured
// home's .claude.
func newService(t testing.TB, version string, files map[string]string, change func(o *agent.Options)) *service {
	t.Helper()
	s := &service{upstream: clitest.NewUpstream(t), home: t.TempDir(), folder: t.TempDir(), root: t.TempDir()}
	s.marker = fmt.Sprintf("test%d", time.Now().UnixNano())
	write(t, filepath.Join(s.home, ".claude"), files)
	options := agent.Options{
		Folder: s.folder, Home: s.home, Meter: newMeter(t, s.upstream.URL(), false), Max: 2, ArtifactBytes: 1 << 20,
		Process: claudecli.Options{Path: clitest.Path(t, version), Root: s.root, Marker: s.marker},
	}
	if change != nil {
		change(&options)
	}
	s.Runner = agent.New(options)
	t.Cleanup(s.Close)
	s.Start()
	return s
}

func write(t testing.TB, folder string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

type prices struct{ *pricing.Catalogue }

func (p prices) ContextWindow(model string) int64 {
	m, _ := p.Find(model)
	return int64(m.ContextWindow)
}

func (p prices) Price(model string, prompt int64, hour bool) (input, output int64, known bool) {
	return p.Dearest(model, time.Now(), prompt, hour)
}

type nobody struct{}

func (nobody) Observe(gateway.Entry) {}

func newMeter(t testing.TB, url string, login bool) *meter.Meter {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "usage.db")})
	if err != nil {
		t.Fatal(err)
	}
	ledger := usage.NewLedger(usage.Options{Store: db})
	t.Cleanup(func() { _ = ledger.Close(context.WithoutCancel(t.Context())); _ = db.Close() })
	catalogue, err := pricing.New(pricing.Options{})
	if err != nil {
		t.Fatal(err)
	}
	toAPI := anthropic.Options{BaseURL: url, Price: catalogue.Cost, CallersLogin: login}
	if !login {
		toAPI.APIKey = credential
	}
	direct, err := anthropic.New(toAPI)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(direct.Close)
	admitter := admission.New(admission.Options{Store: db, Models: prices{catalogue}})
	router := route.New(route.Options{Backends: map[string]gateway.Backend{gateway.BackendDirect: direct}, Resolve: catalogue.Resolve})
	m := meter.New(meter.Options{
		Walk: func() gateway.Options {
			return gateway.Options{Admitter: admitter, Router: router, Recorder: ledger, Observer: nobody{}, Priced: catalogue.Priced}
		},
		Serve: func(g *gateway.Gateway) http.Handler {
			mux := http.NewServeMux()
			anthropicapi.New(anthropicapi.Options{Gateway: g, Models: []anthropicapi.Model{{ID: "haiku"}}}).Register(mux)
			return mux
		},
		Login: login,
	})
	t.Cleanup(m.Close)
	return m
}

var everything = gateway.Permissions{AllowedTools: []string{gateway.All}, AllowedAgents: []string{gateway.All}, AllowedSkills: []string{gateway.All}}

// spec is a run's of a key, with all tools.
func spec(key, prompt string) agent.Spec {
	return agent.Spec{
		ID: fmt.Sprintf("run_%d", time.Now().UnixNano()), Caller: &gateway.Caller{KeyID: key, ProjectID: "alpha", Permissions: everything},
		Endpoint: "/v1/task", Model: testModel, Prompt: quote(prompt), Tools: []string{gateway.All},
	}
}

func quote(text string) jsontext.Value {
	quoted, err := jsontext.AppendQuote(nil, text)
	if err != nil {
		panic(err)
	}
	return quoted
}

// call is a directive for the simulator: a tool's use.
func call(tool string, input map[string]any) string {
	encoded, err := json.Marshal(input, json.Deterministic(true))
	if err != nil {
		panic(err)
	}
	// Brackets inside would end the directive.
	return "[[tool=" + tool + " input=" + strings.NewReplacer("[", `\u005b`, "]", `\u005d`).Replace(string(encoded)) + "]]"
}

// steps has the model answer with one thing after the other, each after the results
// of what was before.
func steps(of ...string) string { return strings.Join(of, " [[then]] ") }

// heard is a Handler that keeps what it hears.
type heard struct {
	mu     sync.Mutex
	events []agent.Event
	asked  []agent.PermitRequest
	// event and permit may be nil: nothing happens, and it is denied.
	event  func(e agent.Event) error
	permit func(ctx context.Context, r agent.PermitRequest) (agent.Decision, error)
}

func (h *heard) Event(e agent.Event) error {
	h.mu.Lock()
	h.events = append(h.events, e)
	h.mu.Unlock()
	if h.event != nil {
		return h.event(e)
	}
	return nil
}

func (h *heard) Permit(ctx context.Context, r agent.PermitRequest) (agent.Decision, error) {
	h.mu.Lock()
	h.asked = append(h.asked, r)
	h.mu.Unlock()
	if h.permit != nil {
		return h.permit(ctx, r)
	}
	return agent.Decision{Reason: "nobody is there"}, nil
}

// log tells what happened, without tokens: a word for each event.
func (h *heard) log() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var words []string
	for _, e := range h.events {
		switch e.Type {
		case agent.EventToolUse:
			words = append(words, "use "+e.Tool)
		case agent.EventToolResult:
			word := "result"
			if e.IsError {
				word = "error"
			}
			words = append(words, word)
		case agent.EventText, agent.EventWarning:
			words = append(words, string(e.Type)+" "+e.Text)
		}
	}
	return strings.Join(words, "\n")
}

// results are the contents of all tool results.
func (h *heard) results() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for _, e := range h.events {
		if e.Type == agent.EventToolResult {
			all = append(all, string(e.Content))
		}
	}
	return strings.Join(all, "\n")
}

// forBothVersions runs a test with both pinned versions.
func forBothVersions(t *testing.T, test func(t *testing.T, version string)) {
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) { test(t, version) })
	}
}
