package clipool_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/fakeclaude"
	"claude-code-api-service/internal/clipool"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
)

func TestMain(m *testing.M) {
	fakeclaude.RunIfAsked()
	goleak.VerifyTestMain(m, clitest.IgnoreSpawner())
}

const model = "claude-haiku-5-5"

var rewinding = claudecli.Features{Emptying: claudecli.EmptyByRewind, ChangeSystem: true, LiveSettings: true}

// newPool makes a pool of scripted workers and starts it.
func newPool(t testing.TB, change func(*clipool.Options), script ...string) *clipool.Pool {
	t.Helper()
	p := newUnstartedPool(t, change, script...)
	p.Start(rewinding)
	return p
}

func newUnstartedPool(t testing.TB, change func(*clipool.Options), script ...string) *clipool.Pool {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	options := clipool.Options{
		Workers: 2, Starting: 2,
		Process: claudecli.Options{Path: self, Root: t.TempDir(), Model: model, Env: fakeclaude.Env(script...)},
	}
	if change != nil {
		change(&options)
	}
	p := clipool.New(options)
	t.Cleanup(p.Close)
	return p
}

// collector is an EventWriter that keeps what it is given.
type collector struct {
	text    strings.Builder
	events  int
	onEvent func() error
}

func (c *collector) Event(e message.Event) error {
	c.events++
	c.text.Write(e.Data)
	if c.onEvent != nil {
		return c.onEvent()
	}
	return nil
}
func (c *collector) Flush() error               { return nil }
func (c *collector) Message(body []byte) error  { c.text.Write(body); return nil }
func (c *collector) End(_ gateway.Result) error { return nil }

func newCall(t testing.TB, project, body string) *gateway.Call {
	t.Helper()
	r, err := message.ParseRequest([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return &gateway.Call{Request: r, Model: model, Caller: &gateway.Caller{ProjectID: project}, Clock: latency.Start()}
}

func body(system, prompt string) string {
	return fmt.Sprintf(`{"model":"haiku","max_tokens":100,"system":%q,"messages":[{"role":"user","content":%q}]}`, system, prompt)
}

// ask serves one request and gives the pid that answered.
func ask(t testing.TB, p *clipool.Pool, project, system, prompt string) (pid string, err error) {
	t.Helper()
	out := &collector{}
	_, err = p.Generate(t.Context(), newCall(t, project, body(system, prompt)), out)
	if m := regexp.MustCompile(`pid=(\d+)`).FindStringSubmatch(out.text.String()); m != nil {
		pid = m[1]
	}
	return pid, err
}

func mustAsk(t testing.TB, p *clipool.Pool, project, system, prompt string) string {
	t.Helper()
	pid, err := ask(t, p, project, system, prompt)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// waitFor waits for a state of the pool. The pool tells nobody of its changes
// but the gauges, so this looks again and again.
func waitFor(t testing.TB, p *clipool.Pool, done func(clipool.Status) bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !done(p.Status()) {
		select {
		case <-deadline:
			t.Fatalf("status = %+v", p.Status())
		case <-tick.C:
		}
	}
}
