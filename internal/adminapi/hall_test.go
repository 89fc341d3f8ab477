package adminapi_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/adminapi"
	"claude-code-api-service/internal/admission"
	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/monitor"
	"claude-code-api-service/internal/sqlite"
	"claude-code-api-service/internal/task"
	"claude-code-api-service/internal/usage"
)

// patience is how long a test waits for what happens elsewhere.
const patience = 20 * time.Second

// prices are those of all models.
type prices struct{}

func (prices) ContextWindow(string) int64                     { return 200_000 }
func (prices) Price(string, int64, bool) (a, b int64, k bool) { return 1_000_000, 5_000_000, true }
func (prices) SearchPrice() int64                             { return 10_000 }
func (prices) PricedSpeed(string) bool                        { return true }

// backend answers each call as a test says, on the way that the call prefers.
type backend struct {
	mu     sync.Mutex
	calls  []*gateway.Call
	answer func(ctx context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error)
}

func (b *backend) Route(call *gateway.Call) (gateway.Backend, error) {
	call.Backend, call.Model = call.Prefer, "claude-"+call.Request.Model
	if call.Request.Model == "nothing" {
		return nil, &apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeNotFound, Param: "model", Message: "model: there is no such model"}
	}
	return b, nil
}

func (b *backend) Generate(ctx context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	b.mu.Lock()
	b.calls = append(b.calls, call)
	b.mu.Unlock()
	return b.answer(ctx, call, out)
}

// says answers with texts.
func says(texts ...string) func(context.Context, *gateway.Call, gateway.EventWriter) (gateway.Result, error) {
	return func(_ context.Context, _ *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
		send := func(kind, data string) error {
			if err := out.Event(message.Event{Type: kind, Data: []byte(data)}); err != nil {
				return err
			}
			return out.Flush()
		}
		err := send(message.EventMessageStart, `{"type":"message_start","message":{"id":"m","model":"claude-answered"}}`)
		for _, text := range texts {
			if err == nil {
				err = send(message.EventContentBlockDelta, `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"`+text+`"}}`)
			}
		}
		cost := int64(1234)
		return gateway.Result{
			Summary:      message.Summary{Model: "claude-answered", StopReason: "end_turn", Usage: message.Usage{InputTokens: 7, OutputTokens: 3}},
			CostMicroUSD: &cost,
		}, err
	}
}

// runner does tasks as a test says.
type runner struct {
	run func(ctx context.Context, spec agent.Spec, h agent.Handler) (agent.Outcome, error)
}

func (r *runner) Run(ctx context.Context, spec agent.Spec, h agent.Handler) (agent.Outcome, error) {
	return r.run(ctx, spec, h)
}
func (*runner) Transcript(string, string) ([]byte, error) { return nil, io.EOF }
func (*runner) Artifact(_, runID, path string) (io.ReadCloser, agent.Artifact, error) {
	text := "<script>" + runID + " " + path
	return io.NopCloser(strings.NewReader(text)), agent.Artifact{Bytes: int64(len(text))}, nil
}
func (*runner) Forget(string, string, string) error { return nil }
func (*runner) ForgetSession(string, string) error  { return nil }

// observed counts what a gateway tells of.
type observed struct {
	mu      sync.Mutex
	entries []gateway.Entry
}

func (o *observed) Observe(e gateway.Entry) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.entries = append(o.entries, e)
}

// hall is the endpoints over real rooms: keys, ledger, admission, jobs and tasks on real
// stores, and a backend and a runner that do what a test says.
type hall struct {
	url      string
	db       *sqlite.DB
	keys     *apikey.Keys
	ledger   *usage.Ledger
	admitter *admission.Admitter
	jobs     *job.Engine
	tasks    *task.Tasks
	gateway  *gateway.Gateway
	backend  *backend
	runner   *runner
	seen     *observed
	handler  *adminapi.Handler
	// admin is the text of an admin key, and adminID its id; key and keyID are a caller's.
	admin, adminID, key, keyID string
}

func newHall(t *testing.T) *hall {
	t.Helper()
	folder := t.TempDir()
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(folder, "usage.db"), Synchronous: "NORMAL"})
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := sqlite.OpenJobs(t.Context(), sqlite.JobOptions{Path: filepath.Join(folder, "tasks.db"), Synchronous: "NORMAL"})
	if err != nil {
		t.Fatal(err)
	}
	h := &hall{db: db, backend: &backend{answer: says("hello")}, runner: &runner{run: func(context.Context, agent.Spec, agent.Handler) (agent.Outcome, error) {
		return agent.Outcome{End: agent.EndCompleted, Text: "done"}, nil
	}}, seen: &observed{}}
	h.keys = apikey.NewKeys(apikey.Options{Store: db})
	h.ledger = usage.NewLedger(usage.Options{Store: db})
	h.admitter = admission.New(admission.Options{Store: db, Models: prices{}})
	authenticator := apikey.NewAuthenticator(apikey.AuthenticatorOptions{Store: db, Interval: 10 * time.Millisecond})
	watching, end := context.WithCancel(context.WithoutCancel(t.Context()))
	watched := make(chan struct{})
	go func() { defer close(watched); authenticator.Watch(watching) }()
	rooms := gateway.Options{Authenticator: authenticator, Admitter: h.admitter, Router: h.backend, Recorder: h.ledger, Observer: h.seen}
	h.gateway = gateway.New(rooms)
	h.jobs = job.New(job.Options{Store: jobs, Workers: map[job.Kind]int{job.KindTask: 2}})
	h.tasks = task.New(task.Options{Runner: h.runner, Jobs: h.jobs, Callers: authenticator, Walk: func() gateway.Options { return rooms }})
	h.jobs.Handle(job.KindTask, h.tasks.Work)
	if err := h.jobs.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.handler = adminapi.New(adminapi.Options{
		Authenticator: authenticator, Keys: h.keys, Audit: db, Observer: h.seen, Sessions: true, Archive: archive.New(archive.Options{Store: db}),
		Monitor: monitor.New(monitor.Options{}), State: func() adminapi.State { return adminapi.State{} },
		Rooms: adminapi.Rooms{
			Accounts: db, Ledger: db, Held: h.admitter.Held, Tasks: h.tasks, Gateway: h.gateway,
			Actions: append(apikey.Actions(), append(adminapi.Actions(), task.Approved, task.Denied)...),
		},
	})
	mux := http.NewServeMux()
	h.handler.Register(mux)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "req_"+r.Header.Get("X-Test")) // as the server does
		mux.ServeHTTP(w, r)
	}))
	h.url = server.URL
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if err := h.handler.Stop(ctx); err != nil {
			t.Error(err)
		}
		server.Close()
		if err := h.jobs.Stop(ctx); err != nil {
			t.Error(err)
		}
		if err := h.ledger.Close(ctx); err != nil {
			t.Error(err)
		}
		end()
		<-watched
		for _, closed := range []io.Closer{jobs, db} {
			if err := closed.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	h.admin, h.adminID = h.make(t, apikey.Create{ProjectID: "house", Admin: true, Name: "the house"})
	h.key, h.keyID = h.make(t, apikey.Create{ProjectID: "alpha", Name: "first", Profile: apikey.ProfileEnterprise})
	return h
}

func (h *hall) make(t *testing.T, wish apikey.Create) (text, id string) {
	t.Helper()
	text, key, err := h.keys.Create(t.Context(), wish)
	if err != nil {
		t.Fatal(err)
	}
	return text, key.ID
}

// heard is an answer whose body is closed with the test.
type heard struct {
	StatusCode int
	Header     http.Header
	Cookies    []*http.Cookie
	Body       io.Reader
}

// request makes one; the header's names and values follow.
func (h *hall) request(t *testing.T, method, path, body string, header ...string) *heard {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, h.url+"/admin/v1"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return &heard{response.StatusCode, response.Header, response.Cookies(), response.Body}
}

// ask makes a request by the admin key and gives status and body.
func (h *hall) ask(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	response := h.request(t, method, path, body, "X-Api-Key", h.admin, "X-Test", "1")
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := response.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("%s %s: Cache-Control: %s", method, path, got)
	}
	return response.StatusCode, string(text)
}

// get decodes the answer to a request that must succeed.
func (h *hall) get(t *testing.T, method, path, body string, into any) {
	t.Helper()
	status, text := h.ask(t, method, path, body)
	if status < 200 || status > 299 {
		t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, text)
	}
}

// refusal is what is said of a request that is refused.
type refusal struct {
	method, path, body string
	status             int
	param              string
}

// refuses holds refusals to their status and the field that they name.
func (h *hall) refuses(t *testing.T, refusals ...refusal) {
	t.Helper()
	for _, r := range refusals {
		status, text := h.ask(t, r.method, r.path, r.body)
		var said struct {
			Detail string `json:"detail"`
			Error  struct {
				Message string  `json:"message"`
				Param   *string `json:"param"`
			} `json:"error"`
		}
		if err := json.Unmarshal([]byte(text), &said); err != nil || said.Detail == "" || said.Detail != said.Error.Message {
			t.Errorf("%s %s %s: %d %s, %v", r.method, r.path, r.body, status, text, err)
			continue
		}
		param := ""
		if said.Error.Param != nil {
			param = *said.Error.Param
		}
		if status != r.status || param != r.param {
			t.Errorf("%s %s %s: %d, %q: %s; want %d, %q", r.method, r.path, r.body, status, param, said.Detail, r.status, r.param)
		}
		if strings.Contains(text, h.key) || strings.Contains(text, h.admin) {
			t.Errorf("%s %s: a key's text is in the answer: %s", r.method, r.path, text)
		}
	}
}

// noted gives the actions that the audit log has, the oldest first, each with its target
// and detail, and holds them to the actor.
func (h *hall) noted(t *testing.T) []string {
	t.Helper()
	events, err := h.db.ListAudit(t.Context(), 0, 1000, audit.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range events {
		if e.Actor != h.adminID || e.Address != "127.0.0.1" || e.RequestID != "req_1" || e.Time.IsZero() {
			t.Errorf("who did it: %+v", e)
		}
		list = append(list, strings.TrimSpace(e.Action+" "+e.Target+" "+e.Detail))
	}
	return list
}

// spend writes into the ledger what a caller's request has used.
func (h *hall) spend(t *testing.T, keyID string, change func(e *gateway.Entry)) {
	t.Helper()
	account, err := h.keys.Find(t.Context(), keyID)
	if err != nil {
		t.Fatal(err)
	}
	zone, err := time.LoadLocation(account.Project.TimeZone)
	if err != nil {
		t.Fatal(err)
	}
	cost := int64(1000)
	e := gateway.Entry{
		RequestID: "req", Time: time.Now(), Endpoint: "/v1/messages", Backend: "cli", Requested: "haiku", Routed: "claude-haiku", Status: 200,
		Caller: &gateway.Caller{KeyID: keyID, ProjectID: account.Key.ProjectID, Location: zone},
		Result: gateway.Result{Summary: message.Summary{Model: "claude-haiku", Usage: message.Usage{InputTokens: 10, OutputTokens: 5, CacheReadInputTokens: 2, CacheCreationInputTokens: 1}}, CostMicroUSD: &cost},
	}
	if change != nil {
		change(&e)
	}
	if err := h.ledger.Record(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

// frame is one event of a stream.
type frame struct {
	id, event string
	data      jsontext.Value
}

// frames gives the events of a stream until one for which last says so, or its end.
func frames(t *testing.T, body io.Reader, last func(f frame) bool) []frame {
	t.Helper()
	var list []frame
	var f frame
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "id":
			f.id = value
		case "event":
			f.event = value
		case "data":
			f.data = jsontext.Value(value)
		case "":
			if f.event == "" {
				continue // a comment
			}
			list = append(list, f)
			if last != nil && last(f) {
				return list
			}
			f = frame{}
		}
	}
	return list
}

func events(list []frame) string {
	var names []string
	for _, f := range list {
		names = append(names, f.event)
	}
	return strings.Join(names, " ")
}
