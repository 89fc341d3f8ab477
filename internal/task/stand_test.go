package task_test

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/goleak"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/protocol/protocoltest"
	"claude-code-api-service/internal/sqlite"
	"claude-code-api-service/internal/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what happens on other goroutines.
const patience = 20 * time.Second

// script is a runner that does what a test says.
type script struct {
	run         func(ctx context.Context, spec agent.Spec, h agent.Handler) (agent.Outcome, error)
	transcripts map[string]bool // sessions that are here

	mu     sync.Mutex
	specs  []agent.Spec
	forgot []string
}

func (s *script) Run(ctx context.Context, spec agent.Spec, h agent.Handler) (agent.Outcome, error) {
	s.mu.Lock()
	s.specs = append(s.specs, spec)
	s.mu.Unlock()
	return s.run(ctx, spec, h)
}

func (s *script) seen() []agent.Spec {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.specs
}

func (s *script) Transcript(_, session string) ([]byte, error) {
	if !s.transcripts[session] {
		return nil, errors.New("not here")
	}
	return []byte("{}"), nil
}

// elsewhere is an artifact that another node has.
const elsewhere = "elsewhere"

func (s *script) Artifact(_, runID, path string) (io.ReadCloser, agent.Artifact, error) {
	if path == elsewhere {
		return nil, agent.Artifact{}, &apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeNotFound, Message: "none"}
	}
	return io.NopCloser(strings.NewReader(runID + " " + path)), agent.Artifact{Bytes: int64(len(runID + " " + path))}, nil
}

func (s *script) ForgetSession(_, session string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgot = append(s.forgot, session)
	return nil
}

func (s *script) Forget(_, workspace, runID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgot = append(s.forgot, workspace+"/"+runID)
	return nil
}

// caller is whose tasks they are. It is never changed.
var caller = &gateway.Caller{KeyID: "k1", ProjectID: "acme", Permissions: gateway.Permissions{
	AllowedTools: []string{"Read", "Bash"}, BlockedTools: []string{"Write"}, AllowedAgents: []string{"scout"}, AllowedSkills: []string{gateway.All},
	MaxCostMicroUSD: 2_000_000, MaxTimeout: 10 * time.Minute,
}}

// rooms are a gateway's, with limits that a test says.
type rooms struct {
	protocoltest.Rooms
	admit, reserve func(call *gateway.Call) error

	mu       sync.Mutex
	admitted []*gateway.Caller
	held     int
}

func (r *rooms) Admit(_ context.Context, call *gateway.Call) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.admit != nil {
		if err := r.admit(call); err != nil {
			return err
		}
	}
	r.held++
	r.admitted = append(r.admitted, call.Caller)
	return nil
}

func (r *rooms) Reserve(_ context.Context, call *gateway.Call) error {
	if r.reserve == nil {
		return nil
	}
	return r.reserve(call)
}

func (r *rooms) Release(*gateway.Call, gateway.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held--
}

func (r *rooms) options() gateway.Options {
	return gateway.Options{Authenticator: r, Admitter: r, Router: r, Recorder: r, Observer: r, Roots: []string{"/"}}
}

// callers finds the one that there is.
type callers struct {
	err error
	now *gateway.Caller // nil: as he was
}

func (c *callers) Caller(context.Context, string) (*gateway.Caller, error) {
	if c.err != nil {
		return nil, c.err
	}
	if c.now != nil {
		return c.now, nil
	}
	return caller, nil
}

// stand is tasks on a real engine.
type stand struct {
	tasks   *task.Tasks
	engine  *job.Engine
	store   *sqlite.Jobs
	runner  *script
	rooms   *rooms
	callers *callers
	options task.Options
	stopped bool
}

func newStand(t *testing.T, run func(ctx context.Context, spec agent.Spec, h agent.Handler) (agent.Outcome, error)) *stand {
	t.Helper()
	store, err := sqlite.OpenJobs(t.Context(), sqlite.JobOptions{Path: filepath.Join(t.TempDir(), "tasks.db"), Synchronous: "NORMAL"})
	if err != nil {
		t.Fatal(err)
	}
	s := &stand{store: store, runner: &script{run: run, transcripts: map[string]bool{}}, rooms: &rooms{}, callers: &callers{}}
	t.Cleanup(func() {
		s.stop(t)
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	s.options = task.Options{Runner: s.runner, Callers: s.callers, Walk: s.rooms.options}
	return s
}

// start starts the engine; also another one, after stop.
func (s *stand) start(t *testing.T) {
	t.Helper()
	s.engine = job.New(job.Options{Store: s.store, Workers: map[job.Kind]int{job.KindTask: 2}})
	s.options.Jobs = s.engine
	s.tasks = task.New(s.options)
	s.engine.Handle(job.KindTask, s.tasks.Work)
	if err := s.engine.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.stopped = false
}

func (s *stand) stop(t *testing.T) {
	t.Helper()
	if s.engine == nil || s.stopped {
		return
	}
	s.stopped = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	if err := s.engine.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func (s *stand) call(t *testing.T) (*gateway.Gateway, *gateway.Call) {
	t.Helper()
	g := gateway.New(s.rooms.options())
	call, err := g.Open(t.Context(), "req_1", task.Endpoint, protocoltest.Key, "")
	if err != nil {
		t.Fatal(err)
	}
	call.Caller = caller
	return g, call
}

func (s *stand) submit(t *testing.T, r task.Request) *task.View {
	t.Helper()
	g, call := s.call(t)
	v, err := s.tasks.Submit(t.Context(), g, call, &r)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (s *stand) get(t *testing.T, id string) *task.View {
	t.Helper()
	v, err := s.tasks.Get(t.Context(), caller, id)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// follow gives the events of a task until one of a type came, the last; "": all.
func (s *stand) follow(t *testing.T, id, until string) []job.Event {
	t.Helper()
	events := s.followTo(t, id, func(e job.Event) bool { return e.Type == until })
	if until != "" && (len(events) == 0 || events[len(events)-1].Type != until) {
		t.Fatalf("there is no %s among %s", until, types(events))
	}
	return events
}

// followTo gives the events of a task up to the one that is the last.
func (s *stand) followTo(t *testing.T, id string, last func(e job.Event) bool) (events []job.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	all, err := s.tasks.Events(ctx, caller, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range all {
		if err != nil {
			t.Fatalf("after %s: %v", types(events), err)
		}
		events = append(events, e)
		if last(e) {
			break
		}
	}
	return events
}

func types(events []job.Event) string {
	var names []string
	for _, e := range events {
		names = append(names, e.Type)
	}
	return strings.Join(names, " ")
}

// started begins a run as an agent does.
func started(h agent.Handler, session string) error {
	return h.Event(agent.Event{Type: agent.EventStarted, Time: time.Now(), Session: session, Workspace: "0011223344556677", Model: "claude-haiku-5-5"})
}

// uses has a tool called, and its result come.
func uses(h agent.Handler, tool, id string) error {
	if err := h.Event(agent.Event{Type: agent.EventToolUse, Time: time.Now(), Tool: tool, ToolID: id, Input: jsontext.Value(`{"x":1}`)}); err != nil {
		return err
	}
	return h.Event(agent.Event{Type: agent.EventToolResult, Time: time.Now(), ToolID: id, Content: jsontext.Value(`"gave"`)})
}

func category(err error) apierror.Category {
	if e := apierror.From(err); e != nil {
		return e.Category
	}
	return ""
}
