package session_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/goleak"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cli is a session.Processes that imitates the CLI: a conversation's transcript is a
// file of lines, which a process reads when it starts and adds to with each answer. The
// answer to a message is all messages so far.
type cli struct {
	mu      sync.Mutex
	files   map[string]string // by key and session
	opened  []agent.Spec
	running int
	made    int
	forgot  []string
	fail    error                     // of the next turn, after it was written down
	end     agent.End                 // of the next turn, in place of completed
	during  func(ctx context.Context) // of each turn
}

func newCLI() *cli { return &cli{files: map[string]string{}} }

func (c *cli) Open(_ context.Context, spec agent.Spec) (session.Conversation, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened = append(c.opened, spec)
	c.running++
	c.made++
	p := &process{cli: c, spec: spec, session: spec.Session, workspace: spec.Workspace, exited: make(chan struct{})}
	if p.session == "" {
		p.session = fmt.Sprintf("00000000-0000-4000-8000-%012d", c.made)
	}
	if p.workspace == "" && spec.Directory == "" {
		p.workspace = fmt.Sprintf("%016d", c.made)
	}
	for line := range strings.Lines(c.files[spec.Caller.KeyID+p.session]) {
		if prompt, ok := strings.CutPrefix(line, `{"type":"user","text":`); ok {
			p.said = append(p.said, strings.TrimSuffix(prompt, "}\n"))
		}
	}
	return p, nil
}

func (c *cli) Transcript(keyID, id string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text, ok := c.files[keyID+id]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

func (c *cli) Restore(keyID, _, _, id string, transcript []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.files[keyID+id]; !ok {
		c.files[keyID+id] = string(transcript)
	}
	return nil
}

func (c *cli) ForgetSession(keyID, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.files, keyID+id)
	return nil
}

func (c *cli) Forget(_, workspace, _ string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if workspace != "" {
		c.forgot = append(c.forgot, workspace)
	}
	return nil
}

// lose removes all files, as a new disk does.
func (c *cli) lose() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.files)
}

func (c *cli) state() (opened []agent.Spec, running int, files []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.opened), c.running, slices.Sorted(maps.Values(c.files))
}

// process is one of cli's.
type process struct {
	cli       *cli
	spec      agent.Spec
	session   string
	workspace string
	said      []string
	exited    chan struct{}
	once      sync.Once
}

func (p *process) Turn(ctx context.Context, _ string, prompt jsontext.Value, handler agent.Handler) (agent.Outcome, error) {
	outcome := agent.Outcome{Session: p.session, Workspace: p.workspace, Model: p.spec.Model, End: agent.EndCompleted}
	if during := p.cli.during; during != nil {
		during(ctx)
	}
	if ctx.Err() != nil {
		return outcome, context.Cause(ctx)
	}
	p.said = append(p.said, string(prompt))
	outcome.Text = strings.Join(p.said, " ")
	answer, err := json.Marshal(outcome.Text)
	if err != nil {
		return outcome, err
	}
	p.cli.mu.Lock()
	failed := p.cli.fail
	p.cli.fail = nil
	if p.cli.end != "" {
		outcome.End, p.cli.end = p.cli.end, ""
	}
	p.cli.files[p.spec.Caller.KeyID+p.session] += fmt.Sprintf("{\"type\":\"user\",\"text\":%s}\n{\"type\":\"assistant\",\"message\":{\"content\":[{\"type\":\"text\",\"text\":%s}]},\"sessionId\":%q}\n", prompt, answer, p.session)
	p.cli.mu.Unlock()
	if failed != nil {
		return outcome, failed
	}
	return outcome, handler.Event(agent.Event{Type: agent.EventText, Text: outcome.Text})
}

func (p *process) Exited() <-chan struct{} { return p.exited }

func (p *process) Close() {
	p.once.Do(func() {
		p.cli.mu.Lock()
		defer p.cli.mu.Unlock()
		p.cli.running--
		close(p.exited)
	})
}

// documents is an archive.Store in memory.
type documents struct {
	mu   sync.Mutex
	all  map[[3]string]archive.Document
	fail error
}

func (m *documents) PutDocument(_ context.Context, d archive.Document) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail == nil {
		d.Body = bytes.Clone(d.Body)
		m.all[[3]string{d.Kind, d.KeyID, d.ID}] = d
	}
	return m.fail
}

func (m *documents) Document(_ context.Context, kind, keyID, id string) (archive.Document, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d, ok := m.all[[3]string{kind, keyID, id}]; ok {
		return d, nil
	}
	return archive.Document{}, archive.ErrNotFound
}

func (m *documents) Documents(_ context.Context, kind, keyID string) (list []archive.Document, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.all {
		if d.Kind == kind && d.KeyID == keyID {
			list = append(list, d)
		}
	}
	return list, nil
}

func (m *documents) DeleteDocument(_ context.Context, kind, keyID, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, [3]string{kind, keyID, id})
	return nil
}

func (m *documents) DeleteExpired(context.Context, time.Time) (int64, error) { return 0, nil }

func (m *documents) of(kind string) (ids []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.all {
		if name[0] == kind {
			ids = append(ids, name[2])
		}
	}
	return ids
}

// node is one of the machines on one archive.
type node struct {
	*session.Sessions
	*cli
	folder string
}

func newStore() *documents { return &documents{all: map[[3]string]archive.Document{}} }

func start(t *testing.T, store *documents, change func(o *session.Options)) *node {
	t.Helper()
	n := &node{cli: newCLI(), folder: t.TempDir()}
	n.boot(t, store, change)
	return n
}

// boot starts the service on the node's disk.
func (n *node) boot(t *testing.T, store *documents, change func(o *session.Options)) {
	t.Helper()
	o := session.Options{
		Processes: n.cli, Archive: archive.New(archive.Options{Store: store}), Folder: n.folder,
		Resolve: func(model string) (string, bool) { return "claude-" + model, model != "gpt" },
		Directory: func(caller *gateway.Caller, path string) (string, error) {
			if !caller.Permissions.Directory(path) {
				return "", &apierror.Error{Category: apierror.Permission, Param: "working_directory", Message: "no"}
			}
			return path, nil
		},
	}
	if change != nil {
		change(&o)
	}
	n.Sessions = session.New(o)
	t.Cleanup(n.Close)
}

// key makes a caller who may do everything.
func key(id string) *gateway.Caller {
	all := []string{gateway.All}
	return &gateway.Caller{KeyID: id, ProjectID: "p", Permissions: gateway.Permissions{
		AllowedTools: all, AllowedAgents: all, AllowedSkills: all, WorkingDirectories: all,
	}}
}

// heard is an agent.Handler that keeps what it hears.
type heard struct{ text string }

func (h *heard) Event(e agent.Event) error {
	if e.Type == agent.EventText {
		h.text = e.Text
	}
	return nil
}

func (h *heard) Permit(context.Context, agent.PermitRequest) (agent.Decision, error) {
	return agent.Decision{}, nil
}

// say sends a message and gives the answer.
func (n *node) say(t *testing.T, caller *gateway.Caller, id, text string) (string, error) {
	t.Helper()
	h := &heard{}
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	_, err = n.Turn(t.Context(), id, session.Message{Caller: caller, RunID: "run_1", Endpoint: "/x", Prompt: quoted}, h)
	return h.text, err
}

func (n *node) hears(t *testing.T, caller *gateway.Caller, id, text, want string) {
	t.Helper()
	if got, err := n.say(t, caller, id, text); err != nil || got != want {
		t.Fatalf("the answer to %s is %s, %v; want %s", text, got, err, want)
	}
}

func (n *node) create(t *testing.T, caller *gateway.Caller, w session.Wish) session.Session {
	t.Helper()
	s, err := n.Create(t.Context(), caller, w)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// is says what kind of error one is.
func is(err error, status int, param string) bool {
	e := apierror.From(err)
	return e != nil && e.Status() == status && e.Param == param
}
