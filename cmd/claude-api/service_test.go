package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"claude-code-api-service/internal/simulator"
	"claude-code-api-service/internal/sqlite"
	"claude-code-api-service/internal/usage"
)

// plantedKey is the credential that the services of these tests have for their
// upstream.
const plantedKey = "sk-ant-planted-0123456789"

// plantedSecret is the value of a variable in the service's own environment that
// is nobody else's business.
const plantedSecret = "planted-variable-of-the-machine"

// upstream is a simulator of the Anthropic API inside the test.
type upstream struct {
	*simulator.Simulator
	url string
}

func newUpstream(t testing.TB) *upstream {
	t.Helper()
	s := simulator.New(simulator.Options{KeepBodies: 10_000})
	url, err := s.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &upstream{s, url}
}

// messages gives the bodies of requests for a message that hold the text.
func (u *upstream) messages(text string) []simulator.Request {
	var found []simulator.Request
	for _, r := range u.Requests() {
		if r.Path == "/v1/messages" && bytes.Contains(r.Body, []byte(text)) {
			found = append(found, r)
		}
	}
	return found
}

// one gives the only body that holds the text.
func (u *upstream) one(t testing.TB, text string) []byte {
	t.Helper()
	found := u.messages(text)
	if len(found) != 1 {
		t.Fatalf("%d requests with %q reached the upstream, want 1", len(found), text)
	}
	return found[0].Body
}

func (u *upstream) await(t testing.TB, what string, done func(simulator.Stats) bool) {
	t.Helper()
	if err := u.Wait(within(t), done); err != nil {
		t.Fatalf("the upstream doesn't see %s: %v (%+v)", what, err, u.Stats())
	}
}

// service is a running `claude-api serve`.
type service struct {
	*process
	url, key, data string
	env            []string
	client         *http.Client
}

// variable gives the value of a variable in the service's environment.
func (s *service) variable(name string) string {
	for _, pair := range s.env {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

// serve starts a service on the upstream with a data folder of its own, and
// makes a key. It doesn't wait until it is ready. Further arguments of the form
// NAME=VALUE are variables, the others flags.
func serve(t testing.TB, upstreamURL, cli string, further ...string) *service {
	t.Helper()
	return serveOn(t, t.TempDir(), upstreamURL, cli, further...)
}

func serveOn(t testing.TB, data, upstreamURL, cli string, further ...string) *service {
	t.Helper()
	own := environment(t)
	env := append(own, "ANTHROPIC_API_KEY="+plantedKey, "ANTHROPIC_BASE_URL="+upstreamURL, "CLAUDE_API_CLAUDE_PATH="+cli)
	args := []string{"serve", "--listen=127.0.0.1:0", "--data-dir=" + data, "--log-level=debug", "--max-workers=2"}
	for _, f := range further {
		if strings.HasPrefix(f, "--") {
			args = append(args, f)
		} else {
			env = append(env, f)
		}
	}
	s := connect(t, start(t, env, args...))
	s.data, s.env = data, own
	s.key = s.createKey(t)
	return s
}

// connect makes a service of a process that serves.
func connect(t testing.TB, p *process) *service {
	t.Helper()
	s := &service{process: p, url: p.expect(t, &p.stderr, `msg=serving url=(\S+)`)}
	s.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
	t.Cleanup(s.client.CloseIdleConnections)
	return s
}

func (s *service) createKey(t testing.TB) string {
	t.Helper()
	return command(t, s.env, "keys", "create", "--data-dir="+s.data, "--project-id=e2e", "--rate-limit=0", "-q")
}

// ready waits until /ready says so.
func (s *service) ready(t testing.TB) *service {
	t.Helper()
	eventually(t, patience, "the service is ready", func() bool { return s.get(t, "/ready").status == http.StatusOK })
	return s
}

// ledger opens the service's database beside it.
func (s *service) ledger(t testing.TB) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(s.data, "claude-api.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// row finds one request in the ledger.
func row(t testing.TB, db *sqlite.DB, requestID string) usage.Row {
	t.Helper()
	for _, r := range rows(t, db) {
		if r.RequestID == requestID {
			return r
		}
	}
	t.Fatalf("no row for %s in the ledger", requestID)
	return usage.Row{}
}

func rows(t testing.TB, db *sqlite.DB) []usage.Row {
	t.Helper()
	list, err := db.ListUsage(context.WithoutCancel(t.Context()), 0, 1_000_000, usage.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// answer is an answer that was read to its end.
type answer struct {
	status          int
	header, trailer http.Header
	body            string
}

// headers are those of a request, as name and value in turn.
func (s *service) request(ctx context.Context, t testing.TB, method, path, body string, headers ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.key)
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func (s *service) do(t testing.TB, r *http.Request) *answer {
	t.Helper()
	response, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return &answer{response.StatusCode, response.Header, response.Trailer, string(body)}
}

func (s *service) get(t testing.TB, path string) *answer {
	t.Helper()
	return s.do(t, s.request(within(t), t, http.MethodGet, path, ""))
}

func (s *service) post(t testing.TB, path, body string, headers ...string) *answer {
	t.Helper()
	return s.do(t, s.request(within(t), t, http.MethodPost, path, body, headers...))
}

// open posts and gives the answer's body, still to be read, and how the caller
// leaves.
func (s *service) open(t testing.TB, path, body string, headers ...string) (lines *bufio.Reader, leave func()) {
	t.Helper()
	ctx, stop := context.WithCancel(within(t))
	response, err := s.client.Do(s.request(ctx, t, http.MethodPost, path, body, headers...))
	if err != nil {
		stop()
		t.Fatal(err)
	}
	leave = func() {
		stop()
		_ = response.Body.Close()
	}
	t.Cleanup(leave)
	return bufio.NewReader(response.Body), leave
}

// until reads lines until one holds the text.
func until(t testing.TB, lines *bufio.Reader, text string) {
	t.Helper()
	for {
		line, err := lines.ReadString('\n')
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			t.Fatalf("the stream ended before %q: %v", text, err)
		}
	}
}

// metrics reads samples of /metrics; one that isn't there is 0.
func (s *service) metrics(t testing.TB, series ...string) []float64 {
	t.Helper()
	values := make([]float64, len(series))
	for line := range strings.Lines(s.get(t, "/metrics").body) {
		for i, name := range series {
			value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" ")
			if !ok {
				continue
			}
			if err := json.Unmarshal([]byte(value), &values[i]); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
	}
	return values
}

func (s *service) metric(t testing.TB, series string) float64 {
	t.Helper()
	return s.metrics(t, series)[0]
}

// decode reads a JSON body into a value.
func decode[T any](t testing.TB, body string) T {
	t.Helper()
	var value T
	if err := json.Unmarshal([]byte(body), &value); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return value
}

// quote writes a JSON string.
func quote(text string) string {
	b, _ := json.Marshal(text) //nolint:errchkjson // a string always has a JSON form
	return string(b)
}

// chat is a chat completion's body for one prompt; more are further members.
func chat(prompt string, more ...string) string {
	return `{"model":"haiku","messages":[{"role":"user","content":` + quote(prompt) + `}]` + members(more) + `}`
}

// messagesBody is a Messages request's body.
func messagesBody(prompt string, more ...string) string {
	return `{"model":"haiku","max_tokens":1000,"messages":[{"role":"user","content":` + quote(prompt) + `}]` + members(more) + `}`
}

// processBody is a body for /v1/process.
func processBody(prompt string, more ...string) string {
	return `{"provider":"openai","model_name":"gpt-4","messages":[{"role":"user","content":` + quote(prompt) + `}]` + members(more) + `}`
}

func members(list []string) string {
	var b strings.Builder
	for _, m := range list {
		b.WriteString("," + m)
	}
	return b.String()
}
