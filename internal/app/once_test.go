package app

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/simulator"
)

// once is a service whose requests carry an Idempotency-Key, and its upstream.
type once struct {
	*App
	config   *config.Config
	upstream *simulator.Simulator
	key, id  string
	client   *http.Client
}

func newOnce(t *testing.T) *once {
	t.Helper()
	o := &once{config: settings(t), upstream: simulator.New(simulator.Options{}), client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	url, err := o.upstream.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.upstream.Close)
	o.config.Anthropic.BaseURL = url
	o.start(t)
	text, key, err := o.Keys().Create(t.Context(), apikey.Create{ProjectID: "p", RequestsPerMinute: new(int)})
	if err != nil {
		t.Fatal(err)
	}
	o.key, o.id = text, key.ID
	return o
}

// start starts the service on its data, again where it has been stopped.
func (o *once) start(t *testing.T) {
	t.Helper()
	c := *o.config
	a, err := New(t.Context(), &c, silent())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Stop(context.Background()) })
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.App = a
}

// named is what was answered.
type named struct {
	status   int
	header   http.Header
	body     string
	replayed bool
}

// TestBatchThatCostNothingIsNotKept: it can succeed the next time, and nobody may fill
// the disk with answers that only repeat their prompts.
func TestBatchThatCostNothingIsNotKept(t *testing.T) {
	o := newOnce(t)
	for _, test := range []struct {
		name, prompts string
		kept          bool
	}{
		{"refused", `"[[error=400]]","[[error=400]]"`, false},
		{"half", `"[[error=400]]","one"`, true},
		{"late", `"[[hang]]"`, true},
	} {
		body := `{"model":"haiku","use_cli":false,"timeout":0.3,"prompts":[` + test.prompts + `]}`
		first := o.send(t, test.name, "/v1/batch", body)
		if second := o.send(t, test.name, "/v1/batch", body); first.status != http.StatusOK || second.replayed != test.kept {
			t.Errorf("%s: kept: %t; %d %s", test.name, second.replayed, first.status, first.body)
		}
	}
}

// TestALostAcceptanceIsGivenAgain: what was asked for later is queued once, also where
// the service died before it had kept what it answered.
func TestALostAcceptanceIsGivenAgain(t *testing.T) {
	o := newOnce(t)
	for path, body := range map[string]string{
		"/v1/process": `{"provider":"p","model_name":"haiku","content":"hello","async_processing":true}`,
		"/v1/batch":   `{"model":"haiku","prompts":["hello"],"async_processing":true}`,
	} {
		first := o.send(t, path, path, body)
		kept, err := o.archive.List(t.Context(), "idempotency", o.id)
		if err != nil || len(kept) != 1 {
			t.Fatalf("%d answers are kept, %v", len(kept), err)
		}
		if err := o.archive.Delete(t.Context(), "idempotency", o.id, kept[0].ID); err != nil {
			t.Fatal(err)
		}
		again := o.send(t, path, path, body)
		if first.status != http.StatusAccepted || again.status != http.StatusAccepted || again.replayed || again.body != first.body {
			t.Errorf("%d %s, then %d %s", first.status, first.body, again.status, again.body)
		}
		if err := o.archive.Delete(t.Context(), "idempotency", o.id, kept[0].ID); err != nil {
			t.Fatal(err)
		}
		if other := o.send(t, path, path, strings.Replace(body, "hello", "other", 1)); other.status != http.StatusAccepted || other.body == first.body {
			t.Errorf("another request: %d %s", other.status, other.body)
		}
		if err := o.archive.Delete(t.Context(), "idempotency", o.id, kept[0].ID); err != nil {
			t.Fatal(err)
		}
	}
}

// send sends a request under a name; further headers are names and values in turn.
func (o *once) send(t *testing.T, name, path, body string, headers ...string) named {
	t.Helper()
	response := o.open(t.Context(), t, name, path, body, headers...)
	defer func() { _ = response.Body.Close() }()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	return named{response.StatusCode, response.Header, string(got), response.Header.Get("Idempotent-Replayed") == "true"}
}

func (o *once) open(ctx context.Context, t *testing.T, name, path, body string, headers ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, o.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", o.key)
	r.Header.Set("Idempotency-Key", name)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := o.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// rows is how many rows the ledger has.
func (o *once) rows(t *testing.T) int64 {
	t.Helper()
	_, body := ask(t, o.App, http.MethodGet, "/v1/usage?period=day", o.key, "")
	var report struct {
		Requests int64 `json:"requests"`
	}
	if err := json.Unmarshal([]byte(body), &report); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return report.Requests
}

// asked is how many answers the upstream was asked for.
func (o *once) asked() int64 { return o.upstream.Stats().Requests["/v1/messages"] }

// generating are the endpoints that serve a request once.
var generating = []struct{ name, path, body, wrong string }{
	{"chat", "/v1/chat/completions", `{"model":"haiku","messages":[{"role":"user","content":"hello"}]}`, `"code":"idempotency_mismatch"`},
	{"a chat's stream", "/v1/chat/completions", `{"model":"haiku","stream":true,"messages":[{"role":"user","content":"hello [[tokens=40]]"}]}`, `"code":"idempotency_mismatch"`},
	{"messages", "/v1/messages?beta=true", `{"model":"haiku","max_tokens":50,"messages":[{"role":"user","content":"hello"}]}`, `"type":"error","error":{"type":"invalid_request_error"`},
	{"a message's stream", "/v1/messages", `{"model":"haiku","max_tokens":50,"stream":true,"messages":[{"role":"user","content":"hello [[tokens=40]]"}]}`, `"type":"error","error":{"type":"invalid_request_error"`},
	{"responses", "/v1/responses", `{"model":"haiku","input":"hello"}`, `"code":"idempotency_mismatch"`},
	{"a response's stream", "/v1/responses", `{"model":"haiku","input":"hello","stream":true}`, `"code":"idempotency_mismatch"`},
	{"process", "/v1/process", `{"provider":"p","model_name":"haiku","content":"hello"}`, `"detail":"Idempotency-Key: `},
	{"a process's stream", "/v1/process", `{"provider":"p","model_name":"haiku","content":"hello","additional_params":{"stream":true}}`, `"detail":"Idempotency-Key: `},
	{"a later process", "/v1/process", `{"provider":"p","model_name":"haiku","content":"hello","async_processing":true}`, `"detail":"Idempotency-Key: `},
	{"batch", "/v1/batch", `{"model":"haiku","prompts":["one","two"]}`, `"detail":"Idempotency-Key: `},
}

// TestOnceOnEveryEndpoint: the same request is answered with the same bytes, also
// after the service was started anew, and asks nothing of the upstream.
func TestOnceOnEveryEndpoint(t *testing.T) {
	o := newOnce(t)
	first := map[string]named{}
	for _, tt := range generating {
		a := o.send(t, "two words", tt.path, tt.body)
		if a.status != 400 || !strings.Contains(a.body, "Idempotency-Key: ") {
			t.Errorf("%s: a key of two words: %d %s", tt.name, a.status, a.body)
		}
		a = o.send(t, tt.path+strings.ReplaceAll(tt.name, " ", "_"), tt.path, tt.body)
		if a.replayed || a.status != 200 && a.status != 202 {
			t.Errorf("%s: %d, replayed %v", tt.name, a.status, a.replayed)
		}
		first[tt.name] = a
	}
	// The later process is done when it is known.
	var run struct{ ID, Status string }
	decodeInto(t, first["a later process"].body, &run)
	for run.Status != "completed" && t.Context().Err() == nil {
		_, body := ask(t, o.App, http.MethodGet, "/v1/process/"+run.ID, o.key, "")
		decodeInto(t, body, &run)
	}
	asked, rows := o.asked(), o.rows(t)
	again := func(when string) {
		for _, tt := range generating {
			name := tt.path + strings.ReplaceAll(tt.name, " ", "_")
			a, want := o.send(t, name, tt.path, tt.body, "X-Request-ID", "another"), first[tt.name]
			if a.status != want.status || a.body != want.body || !a.replayed {
				t.Errorf("%s, %s: %d %q, want %d %q", tt.name, when, a.status, a.body, want.status, want.body)
			}
			for _, header := range []string{"Content-Type", "X-Request-Id", "X-Claude-Backend", "X-Claude-Warnings", "Location"} {
				if got, want := a.header.Get(header), want.header.Get(header); got != want {
					t.Errorf("%s, %s: %s is %q, was %q", tt.name, when, header, got, want)
				}
			}
			if a := o.send(t, name, tt.path, tt.body+" "); a.status != 422 || !strings.Contains(a.body, tt.wrong) || a.header.Get("X-Should-Retry") != "false" {
				t.Errorf("%s, %s: another body: %d %s", tt.name, when, a.status, a.body)
			}
		}
		if o.asked() != asked || o.rows(t) != rows {
			t.Errorf("%s: the upstream was asked %d times more, the ledger has %d rows more", when, o.asked()-asked, o.rows(t)-rows)
		}
	}
	again("at once")
	if _, metrics := ask(t, o.App, http.MethodGet, "/metrics", "", ""); !strings.Contains(metrics, "claude_api_replayed_answers_total 10\n") {
		t.Errorf("of %d answers that were given again the metrics say something else", len(generating))
	}
	if err := o.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.start(t)
	again("after a new start")
	if _, err := o.Keys().Revoke(t.Context(), o.id); err != nil {
		t.Fatal(err)
	}
	if err := o.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.start(t)
	if a := o.send(t, "/v1/responsesresponses", "/v1/responses", `{"model":"haiku","input":"hello"}`); a.status != 401 {
		t.Errorf("with a key that is revoked: %d %s", a.status, a.body)
	}
}

func decodeInto(t *testing.T, body string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), into); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
}

// TestOnceForEachKey: what one key calls a request is nothing to another.
func TestOnceForEachKey(t *testing.T) {
	o := newOnce(t)
	tt := generating[0]
	first := o.send(t, "k", tt.path, tt.body)
	other, _, err := o.Keys().Create(t.Context(), apikey.Create{ProjectID: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if a := o.send(t, "k", tt.path, tt.body, "X-Api-Key", other); a.status != 200 || a.replayed || a.body == first.body {
		t.Errorf("another key of the project: %d %s, replayed %v", a.status, a.body, a.replayed)
	}
	if a := o.send(t, "k", tt.path, tt.body); !a.replayed || a.body != first.body {
		t.Errorf("the first key: %d %s, replayed %v", a.status, a.body, a.replayed)
	}
}

// TestOnceAmongMany: of 64 at a time one is served.
func TestOnceAmongMany(t *testing.T) {
	o := newOnce(t)
	for i, tt := range generating[:4] {
		before := o.asked()
		body := strings.Replace(tt.body, "hello", "hello [[delay=50ms]]", 1)
		answers := make([]named, 64)
		var callers sync.WaitGroup
		for n := range answers {
			callers.Go(func() {
				answers[n] = o.send(t, "one", tt.path, body, "Idempotency-Key", "many-"+tt.path+string(rune('a'+i)))
			})
		}
		callers.Wait()
		var served, waits int
		var bodies []string
		for _, a := range answers {
			switch {
			case a.status == 200:
				bodies = append(bodies, a.body)
				if !a.replayed {
					served++
				}
			case a.status == 409 && a.header.Get("Retry-After") == "1" && a.header.Get("X-Should-Retry") == "":
				waits++
			default:
				t.Errorf("%s: %d %s", tt.name, a.status, a.body)
			}
		}
		for _, body := range bodies {
			if body != bodies[0] || body == "" {
				t.Errorf("%s: two answers: %q and %q", tt.name, body, bodies[0])
			}
		}
		if served != 1 || o.asked()-before != 1 || o.rows(t) != int64(i+1) {
			t.Errorf("%s: served %d, the upstream was asked %d times, %d rows; %d were told to wait", tt.name, served, o.asked()-before, o.rows(t)-int64(i), waits)
		}
	}
}

// TestOnceForWhoLeft: a stream that its caller leaves goes on, and whoever asks
// again gets all of it.
func TestOnceForWhoLeft(t *testing.T) {
	o := newOnce(t)
	for i, tt := range []struct{ path, body, end string }{
		{"/v1/chat/completions", `{"model":"haiku","stream":true,"messages":[{"role":"user","content":"[[tokens=20 interval=20ms]]"}]}`, "data: [DONE]\n\n"},
		{"/v1/messages", `{"model":"haiku","max_tokens":50,"stream":true,"messages":[{"role":"user","content":"[[tokens=20 interval=20ms]]"}]}`, "event: message_stop"},
	} {
		ctx, leave := context.WithCancel(t.Context())
		response := o.open(ctx, t, "left", tt.path, tt.body, "Idempotency-Key", "left"+tt.path)
		begun := make([]byte, 16)
		if _, err := io.ReadFull(response.Body, begun); err != nil {
			t.Fatal(err)
		}
		leave()
		_ = response.Body.Close()
		if a := o.send(t, "left"+tt.path, tt.path, tt.body); a.status != 409 {
			t.Errorf("%s: while it goes on: %d", tt.path, a.status)
		}
		if err := o.upstream.Wait(t.Context(), func(s simulator.Stats) bool { return s.InFlight == 0 }); err != nil {
			t.Fatal(err)
		}
		var a named
		for a.status = 409; a.status == 409; {
			a = o.send(t, "left"+tt.path, tt.path, tt.body)
		}
		if a.status != 200 || !a.replayed || !strings.HasPrefix(a.body, string(begun)) || !strings.Contains(a.body, tt.end) || a.header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("%s: %d %v %q", tt.path, a.status, a.header, a.body)
		}
		if stats := o.upstream.Stats(); stats.Cancelled != 0 || o.asked() != int64(i+1) || o.rows(t) != int64(i+1) {
			t.Errorf("%s: the upstream was asked %d times, %d were cancelled; %d rows", tt.path, o.asked(), stats.Cancelled, o.rows(t))
		}
	}
}

// TestWhatCostNothingIsServedAgain: an upstream that refused is asked again.
func TestWhatCostNothingIsServedAgain(t *testing.T) {
	o := newOnce(t)
	for _, tt := range generating[:4] {
		body := strings.Replace(tt.body, "hello", "refused [[error=529 times=1]] "+strings.ReplaceAll(tt.name, "'", ""), 1)
		name := "free-" + strings.ReplaceAll(tt.name, " ", "_")
		if a := o.send(t, name, tt.path, body); a.status < 500 || a.header.Get("X-Should-Retry") != "" {
			t.Errorf("%s: %d %s", tt.name, a.status, a.body)
		}
		if a := o.send(t, name, tt.path, body); a.status != 200 || a.replayed {
			t.Errorf("%s: then %d %s", tt.name, a.status, a.body)
		}
		if a := o.send(t, name, tt.path, body); a.status != 200 || !a.replayed {
			t.Errorf("%s: at last %d %s", tt.name, a.status, a.body)
		}
	}
}

// TestStopWaitsForWhoLeft: the service's end waits for an answer that nobody reads.
func TestStopWaitsForWhoLeft(t *testing.T) {
	o := newOnce(t)
	const path, body = "/v1/chat/completions", `{"model":"haiku","stream":true,"messages":[{"role":"user","content":"[[tokens=20 interval=20ms]]"}]}`
	ctx, leave := context.WithCancel(t.Context())
	response := o.open(ctx, t, "k", path, body)
	if _, err := io.ReadFull(response.Body, make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	leave()
	_ = response.Body.Close()
	stopping, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := o.Stop(stopping); err != nil {
		t.Fatal(err)
	}
	o.start(t)
	if a := o.send(t, "k", path, body); a.status != 200 || !a.replayed || !strings.HasSuffix(a.body, "data: [DONE]\n\n") || o.asked() != 1 {
		t.Errorf("%d %q, asked %d times", a.status, a.body, o.asked())
	}
}

// TestOnceIsForGenerating: what generates nothing has no need of the header.
func TestOnceIsForGenerating(t *testing.T) {
	o := newOnce(t)
	for path, body := range map[string]string{
		"/v1/messages/count_tokens":  `{"model":"haiku","messages":[{"role":"user","content":"hello"}]}`,
		"/v1/responses/input_tokens": `{"model":"haiku","input":"hello"}`,
		"/v1/route":                  `{"prompt":"hello"}`,
	} {
		for range 2 {
			if a := o.send(t, "k", path, body); a.status != 200 || a.replayed {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
	}
}

// TestOnceIsDocumented: the document names the header where it is read, and nowhere
// else, with the refusals that come of it. Others may have a 409 of their own.
func TestOnceIsDocumented(t *testing.T) {
	o := newOnce(t)
	_, body := ask(t, o.App, http.MethodGet, "/openapi.json", "", "")
	var document struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In string }
			Responses  map[string]any
		}
	}
	decodeInto(t, body, &document)
	reads := map[string]bool{"post /v1/task": true} // TestTasks sends it
	for _, tt := range generating {
		path, _, _ := strings.Cut(tt.path, "?")
		reads["post "+path] = true
	}
	seen := 0
	for path, methods := range document.Paths {
		for method, operation := range methods {
			named := false
			for _, p := range operation.Parameters {
				named = named || p.Name == "Idempotency-Key" && p.In == "header"
			}
			_, conflict := operation.Responses["409"]
			_, mismatch := operation.Responses["422"]
			if want := reads[method+" "+path]; named != want || want && !conflict || mismatch != want {
				t.Errorf("%s %s: the header is named %v, 409 %v, 422 %v; want %v", method, path, named, conflict, mismatch, want)
			}
			if named {
				seen++
			}
		}
	}
	if seen != len(reads) {
		t.Errorf("%d operations name the header, want %d", seen, len(reads))
	}
}
