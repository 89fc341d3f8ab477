package clipool_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"claude-code-api-service/internal/apierror"
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

func TestGenerate(t *testing.T) {
	p := newPool(t, nil)
	t.Run("plain", func(t *testing.T) {
		out := &collector{}
		call := newCall(t, "p", `{"model":"haiku","max_tokens":7,"system":"be brief","messages":[
			{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":[{"type":"text","text":"three","cache_control":{"type":"ephemeral"}}]}],
			"temperature":0.5,"service_tier":"auto","output_config":{"effort":"low"}}`)
		result, err := p.Generate(t.Context(), call, out)
		if err != nil {
			t.Fatal(err)
		}
		text := out.text.String()
		for _, want := range []string{`"type":"message"`, `"stop_reason":"end_turn"`, `system=\"be brief\"`, "max=7", "history=2", `"output_tokens":5`} {
			if !strings.Contains(text, want) {
				t.Errorf("answer lacks %s: %s", want, text)
			}
		}
		if strings.Contains(text, "cache_control") {
			t.Errorf("a cache marker reached the CLI: %s", text)
		}
		if result.Usage.OutputTokens != 5 || *result.CostMicroUSD != 25 {
			t.Errorf("result = %+v", result)
		}
		// What the protocol filled in by itself needs no warning.
		quiet := newCall(t, "p", `{"max_tokens":7,"temperature":0.7,"messages":[{"role":"user","content":"hi"}]}`)
		quiet.Defaults = []string{"temperature"}
		if _, err := p.Generate(t.Context(), quiet, &collector{}); err != nil || len(quiet.Warnings) > 0 {
			t.Errorf("warnings = %v, %v", quiet.Warnings, err)
		}
		if got := strings.Join(call.Warnings, "; "); len(call.Warnings) != 4 || !strings.Contains(got, "temperature") || !strings.Contains(got, "service_tier") || !strings.Contains(got, "output_config") {
			t.Errorf("warnings = %v", call.Warnings)
		}
		for _, stage := range []latency.Stage{latency.Queue, latency.Bind, latency.FirstByte} {
			if _, known := call.Clock.Took(stage); !known {
				t.Errorf("stage %s isn't known", stage)
			}
		}
	})
	t.Run("stream", func(t *testing.T) {
		out := &collector{}
		call := newCall(t, "p", `{"model":"haiku","max_tokens":7,"stream":true,"messages":[{"role":"user","content":"hi"}]}`)
		if _, err := p.Generate(t.Context(), call, out); err != nil || out.events != 6 {
			t.Errorf("%d events, %v", out.events, err)
		}
	})
}

func TestInvalidRequestsTakeNoWorker(t *testing.T) {
	p := clipool.New(clipool.Options{}) // has no worker to take: a request that got past the checks would wait
	t.Cleanup(p.Close)
	tests := []struct{ name, body, param string }{
		{"a tool that runs at the API", `{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"web_search_20250305","name":"w"}]}`, "tools.0.type"},
		{"a tool's name", `{"messages":[{"role":"user","content":"x"}],"tools":[{"name":"a.b","input_schema":{"type":"object"}}]}`, "tools.0.name"},
		{"a choice of no tool", `{"messages":[{"role":"user","content":"x"}],"tools":[{"name":"a","input_schema":{}}],"tool_choice":{"type":"tool","name":"b"}}`, "tool_choice.name"},
		{"a server tool's block", `{"messages":[{"role":"user","content":[{"type":"server_tool_use"}]}]}`, "messages.0.content.0.type"},
		{"a result of no call", `{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]}]}`, "messages.0.content"},
		{"a result of another call", `{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"b","name":"n","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]}]}`, "messages.1.content"},
		{"a call without a result", `{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"b","name":"n","input":{}}]},{"role":"user","content":"x"}]}`, "messages.1.content"},
		{"a call without a name", `{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a","input":{}}]},{"role":"user","content":"x"}]}`, "messages.0.content.0.name"},
		{"MCP servers", `{"messages":[{"role":"user","content":"x"}],"mcp_servers":[{}]}`, "mcp_servers"},
		{"a conversation that the API holds", `{"messages":[{"role":"user","content":"x"}],"thread":{"type":"continue","previous_message_id":"msg_1"}}`, "thread"},
		{"text without a text", `{"messages":[{"role":"user","content":[{"type":"text"}]}]}`, "messages.0.content.0.text"},
		{"image without a source", `{"messages":[{"role":"user","content":[{"type":"image"}]}]}`, "messages.0.content.0.source"},
		{"blank", `{"messages":[{"role":"user","content":" \n"}]}`, "messages.0.content"},
		{"role", `{"messages":[{"role":"robot","content":"x"}]}`, "messages.0.role"},
		{"empty", `{"messages":[]}`, "messages"},
		{"assistant last", `{"messages":[{"role":"assistant","content":"x"}]}`, "messages"},
		{"content", `{"messages":[{"role":"user","content":5}]}`, "messages.0.content"},
		{"block", `{"messages":[{"role":"user","content":[{"text":"x"}]}]}`, "messages.0.content.0.type"},
		{"tool result", `{"messages":[{"role":"user","content":[{"type":"tool_result"}]}]}`, "messages.0.content.0.tool_use_id"},
		{"system", `{"messages":[{"role":"user","content":"x"}],"system":7}`, "system"},
		{"thinking", `{"messages":[{"role":"user","content":"x"}],"thinking":{"type":"enabled","budget_tokens":5}}`, "thinking.budget_tokens"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := p.Generate(t.Context(), newCall(t, "p", test.body), &collector{})
			if e := apierror.From(err); e == nil || e.Category != apierror.BadRequest || e.Param != test.param {
				t.Errorf("err = %v, want bad_request about %s", err, test.param)
			}
		})
	}
}

// What an installed version can't do is refused or named, also when the request
// came before the probe had ended.
func TestWhatTheInstalledCLICannotDo(t *testing.T) {
	const format = `{"messages":[{"role":"user","content":"x"}],"output_config":{"format":{"type":"json_schema"}}}`
	const tools = `{"messages":[{"role":"user","content":"x"}],"tools":[{"name":"t","input_schema":{"type":"object"}}]}`
	for _, probed := range []bool{true, false} {
		for body, param := range map[string]string{format: "output_config.format", tools: "tools"} {
			t.Run(fmt.Sprintf("%s, probed: %t", param, probed), func(t *testing.T) {
				p := newUnstartedPool(t, nil)
				if probed {
					p.Start(rewinding)
				} else {
					go func() {
						waitFor(t, p, func(s clipool.Status) bool { return s.Queued == 1 })
						p.Start(rewinding)
					}()
				}
				_, err := p.Generate(t.Context(), newCall(t, "p", body), &collector{})
				if e := apierror.From(err); e == nil || e.Category != apierror.BadRequest || e.Param != param {
					t.Errorf("err = %v, want bad_request about %s", err, param)
				}
			})
		}
	}
}

func TestReuse(t *testing.T) {
	one := func(reuse clipool.Reuse) func(*clipool.Options) {
		return func(o *clipool.Options) { o.Workers, o.Reuse = 1, reuse }
	}
	tests := []struct {
		name            string
		reuse           clipool.Reuse
		project, system string // of the second request; the first is of "a" with a system prompt
		same            bool
	}{
		{"never", clipool.ReuseNever, "a", "s", false},
		{"same project", clipool.ReuseSameProject, "a", "other", true},
		{"another project", clipool.ReuseSameProject, "b", "s", false},
		{"back to no system prompt", clipool.ReuseSameProject, "a", "", false},
		{"always", clipool.ReuseAlways, "b", "s", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newPool(t, one(test.reuse))
			first := mustAsk(t, p, "a", "s", "x")
			second := mustAsk(t, p, test.project, test.system, "y")
			if (first == second) != test.same {
				t.Errorf("workers %s and %s, same should be %t", first, second, test.same)
			}
		})
	}
}

func TestWorkersAreReplaced(t *testing.T) {
	tests := []struct {
		name   string
		script string
		prompt string
	}{
		// A worker that changes its system prompt would be emptied once before its
		// first request.
		{name: "when they aren't emptied", prompt: "x", script: "norewind"},
		{name: "when they wrote garbage", prompt: "[[garbage]]"},
		{name: "when they died", prompt: "[[die]]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			options := clipool.Options{Workers: 1, Process: claudecli.Options{Path: self, Root: t.TempDir(), Model: model, Env: fakeclaude.Env(test.script)}}
			features := rewinding
			features.ChangeSystem = test.script == ""
			p := clipool.New(options)
			t.Cleanup(p.Close)
			p.Start(features)
			first, err := ask(t, p, "a", "s", test.prompt)
			if dies := test.prompt == "[[die]]"; (err != nil) != dies {
				t.Fatalf("err = %v", err)
			}
			if second := mustAsk(t, p, "a", "s", "x"); second == first {
				t.Errorf("worker %s served again", first)
			}
		})
	}
}

func TestWorkersAreReplacedAfterTheirTurns(t *testing.T) {
	p := newPool(t, func(o *clipool.Options) { o.Workers, o.MaxTurns = 1, 10 })
	first := mustAsk(t, p, "a", "s", "x")
	turns := 1
	for mustAsk(t, p, "a", "s", "x") == first {
		turns++
	}
	// The end of each is spread by a tenth.
	if turns < 9 || turns > 11 {
		t.Errorf("a worker served %d turns", turns)
	}
}

func TestAnswersTogether(t *testing.T) {
	// Four prompts that each wait for a second on four workers: one after the
	// other they would take four seconds. The bound is far from both.
	p := newPool(t, func(o *clipool.Options) { o.Workers, o.Starting = 4, 4 })
	for range 4 {
		mustAsk(t, p, "a", "s", "warm")
	}
	var wg sync.WaitGroup
	started := time.Now()
	for i := range 4 {
		wg.Go(func() {
			if _, err := ask(t, p, "a", "s", fmt.Sprintf("%d [[delay=1s]]", i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(started); took > 3*time.Second {
		t.Errorf("four calls of 1 s took %v", took)
	}
}

// blocked fills the pool's only worker with a turn that ends when release is
// called, and returns when it runs.
func blocked(t *testing.T, p *clipool.Pool) (release func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	running := make(chan struct{})
	var once sync.Once
	done := make(chan struct{})
	out := &collector{onEvent: func() error { once.Do(func() { close(running) }); return nil }}
	call := newCall(t, "a", `{"model":"haiku","max_tokens":7,"stream":true,"messages":[{"role":"user","content":"[[hang]]"}]}`)
	go func() {
		defer close(done)
		if _, err := p.Generate(ctx, call, out); !errors.Is(err, context.Canceled) {
			t.Errorf("the blocked call ended with %v", err)
		}
	}()
	<-running
	return func() { cancel(); <-done }
}

func TestQueueIsBounded(t *testing.T) {
	p := newPool(t, func(o *clipool.Options) { o.Workers, o.QueuePerWorker = 1, 1 })
	release := blocked(t, p)
	served := make(chan error, 1)
	go func() { _, err := ask(t, p, "a", "", "waits"); served <- err }()
	waitFor(t, p, func(s clipool.Status) bool { return s.Queued == 1 })
	if s := p.Status(); !strings.Contains(s.Reason, "saturated") {
		t.Errorf("status = %+v", s)
	}
	_, err := ask(t, p, "a", "", "one too many")
	if e := apierror.From(err); e == nil || e.Category != apierror.Overloaded || e.RetryAfter == 0 {
		t.Errorf("err = %v", err)
	}
	release()
	if err := <-served; err != nil {
		t.Errorf("the one that waited: %v", err)
	}
}

func TestCallerLeavesTheQueue(t *testing.T) {
	p := newPool(t, func(o *clipool.Options) { o.Workers = 1 })
	release := blocked(t, p)
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := p.Generate(ctx, newCall(t, "a", body("", "x")), &collector{})
		left <- err
	}()
	waitFor(t, p, func(s clipool.Status) bool { return s.Queued == 1 })
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	if s := p.Status(); s.Queued != 0 {
		t.Errorf("status = %+v", s)
	}
	release()
	mustAsk(t, p, "a", "", "still served")
}

// waitFor waits for a state of the pool. The pool tells nobody of its changes
// but the gauges, so this looks again and again.
func waitFor(t *testing.T, p *clipool.Pool, done func(clipool.Status) bool) {
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

func TestDeadBinaryIsRefusedAtOnce(t *testing.T) {
	for _, test := range []struct{ name, path, script, reason string }{
		{"missing", "/nonexistent/claude", "", "can't be started"},
		{"dies at start", "", "die", "ended unexpectedly"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPool(t, func(o *clipool.Options) {
				if test.path != "" {
					o.Process.Path = test.path
				}
			}, test.script)
			started := time.Now()
			_, err := ask(t, p, "a", "", "x")
			e := apierror.From(err)
			if e == nil || e.Category != apierror.Overloaded || !strings.Contains(e.Message, test.reason) || strings.Contains(e.Message, "/nonexistent") {
				t.Errorf("err = %v", err)
			}
			if took := time.Since(started); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			waitFor(t, p, func(s clipool.Status) bool { return strings.Contains(s.Reason, test.reason) })
		})
	}
}

func TestFailedProbe(t *testing.T) {
	p := clipool.New(clipool.Options{})
	t.Cleanup(p.Close)
	waiting := make(chan error, 1)
	go func() { _, err := ask(t, p, "a", "", "x"); waiting <- err }()
	waitFor(t, p, func(s clipool.Status) bool { return s.Queued == 1 })
	p.Fail(apierror.New(apierror.CLIError, "no mode works"))
	if err := <-waiting; err == nil || !strings.Contains(err.Error(), "no mode works") {
		t.Errorf("err = %v", err)
	}
}

func TestIdleDeathIsNoticed(t *testing.T) {
	p := newPool(t, func(o *clipool.Options) { o.Workers = 1 })
	pid := mustAsk(t, p, "a", "", "x")
	var n int
	if _, err := fmt.Sscan(pid, &n); err != nil {
		t.Fatal(err)
	}
	waitFor(t, p, func(s clipool.Status) bool { return s.Idle == 1 })
	process, err := os.FindProcess(n)
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	if second := mustAsk(t, p, "a", "", "y"); second == pid {
		t.Errorf("the dead worker %s answered", pid)
	}
}

func TestIdleWorkersAreInspected(t *testing.T) {
	tests := []struct {
		name   string
		change func(*clipool.Options)
	}{
		{"old", func(o *clipool.Options) { o.MaxAge = 200 * time.Millisecond }},
		{"grown", func(o *clipool.Options) { o.MaxResidentBytes = 1 }},
		{"in another project's way", func(o *clipool.Options) { o.SpareAfter = time.Millisecond }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newPool(t, func(o *clipool.Options) {
				o.Workers, o.InspectEvery = 1, 10*time.Millisecond
				test.change(o)
			})
			// A request may come before the worker is replaced or after.
			first := mustAsk(t, p, "a", "", "x")
			deadline := time.Now().Add(20 * time.Second)
			for mustAsk(t, p, "a", "", "y") == first {
				if time.Now().After(deadline) {
					t.Fatalf("worker %s is still there", first)
				}
				waitFor(t, p, func(s clipool.Status) bool { return s.Idle == 1 || s.Starting > 0 })
			}
		})
	}
}

// newBreakablePool makes a pool whose binary can be taken away.
func newBreakablePool(t *testing.T, change func(*clipool.Options)) (p *clipool.Pool, takeAway func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "claude")
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	p = newPool(t, func(o *clipool.Options) {
		o.Process.Path = link
		change(o)
	})
	return p, func() {
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWorkersAreKeptWhileNoneCanBeStarted(t *testing.T) {
	p, takeAway := newBreakablePool(t, func(o *clipool.Options) { o.Workers = 2 })
	waitFor(t, p, func(s clipool.Status) bool { return s.Idle == 2 })
	release := blocked(t, p) // of project a
	mustAsk(t, p, "a", "", "a second worker for a")
	waitFor(t, p, func(s clipool.Status) bool { return s.Idle == 1 })
	takeAway()
	// One worker is given up for b before it is known that none can be started.
	for range 2 {
		if _, err := ask(t, p, "b", "", "x"); apierror.From(err) == nil || apierror.From(err).Category != apierror.Overloaded {
			t.Errorf("b got %v", err)
		}
	}
	release()
	mustAsk(t, p, "a", "", "the blocked worker is still there")
}

func TestThePoolDoesNotShrinkWhileNoneCanBeStarted(t *testing.T) {
	p, takeAway := newBreakablePool(t, func(o *clipool.Options) {
		o.Workers, o.SpareAfter, o.InspectEvery, o.MaxAge = 3, time.Hour, 5*time.Millisecond, 300*time.Millisecond
	})
	waitFor(t, p, func(s clipool.Status) bool { return s.Idle == 3 })
	takeAway()
	// One ages and can't be replaced; the others, as old, are kept.
	waitFor(t, p, func(s clipool.Status) bool { return s.Idle == 2 })
	for range 100 {
		mustAsk(t, p, "a", "", "x")
	}
}

func TestWorkersAreReplacedOneByOne(t *testing.T) {
	p := newPool(t, func(o *clipool.Options) {
		o.Workers, o.Starting, o.InspectEvery, o.MaxAge = 3, 3, time.Millisecond, 200*time.Millisecond
	}, "sleep=20ms")
	waitFor(t, p, func(s clipool.Status) bool { return s.Idle == 3 })
	replaced := 0
	for before := p.Status(); replaced < 6; {
		s := p.Status()
		if s.Starting > 1 {
			t.Fatalf("%d workers are replaced at once", s.Starting)
		}
		if s.Starting == 1 && before.Starting == 0 {
			replaced++
		}
		before = s
	}
}

func TestTheHeadOfTheQueueIsServedInTime(t *testing.T) {
	p := newPool(t, func(o *clipool.Options) {
		o.Workers, o.Patience = 2, 50*time.Millisecond
	})
	waitFor(t, p, func(s clipool.Status) bool { return s.Idle == 2 })
	release := blocked(t, p) // a's one worker has a long answer
	defer release()
	stop, wg := make(chan struct{}), sync.WaitGroup{}
	for range 6 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if _, err := ask(t, p, "b", "", "x"); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	waitFor(t, p, func(s clipool.Status) bool { return s.Queued >= 4 })
	mustAsk(t, p, "a", "", "waits while b's requests pass") // else the test times out
	close(stop)
	wg.Wait()
}

func TestRequestsBeforeTheProbeAreOfNoOtherClass(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := clipool.New(clipool.Options{Workers: 1, Process: claudecli.Options{Path: self, Root: t.TempDir(), Model: model, Env: fakeclaude.Env()}})
	t.Cleanup(p.Close)
	early := make(chan string, 1)
	go func() { early <- mustAsk(t, p, "a", "s", "x") }()
	waitFor(t, p, func(s clipool.Status) bool { return s.Queued == 1 })
	p.Start(rewinding)
	first := <-early
	if second := mustAsk(t, p, "a", "another system prompt", "y"); second != first {
		t.Errorf("worker %s was left for %s", first, second)
	}
}

func TestTwoProjectsShareThePool(t *testing.T) {
	p := newPool(t, nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	served := map[string]map[string]bool{} // pid → projects
	for i := range 40 {
		project := []string{"a", "b"}[i%2]
		wg.Go(func() {
			pid, err := ask(t, p, project, "", "x")
			if apierror.From(err) != nil && apierror.From(err).Category == apierror.Overloaded {
				return // 40 at once are more than the queue holds
			}
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if served[pid] == nil {
				served[pid] = map[string]bool{}
			}
			served[pid][project] = true
		})
	}
	wg.Wait()
	for pid, projects := range served {
		if len(projects) != 1 {
			t.Errorf("worker %s served %v", pid, projects)
		}
	}
	if len(served) > 8 {
		t.Errorf("%d workers for 40 requests of two projects on a pool of two", len(served))
	}
}

func TestCloseEndsWhatRuns(t *testing.T) {
	p := newPool(t, func(o *clipool.Options) { o.Workers = 1 })
	running := make(chan struct{})
	ended := make(chan error, 1)
	var once sync.Once
	out := &collector{onEvent: func() error { once.Do(func() { close(running) }); return nil }}
	call := newCall(t, "a", `{"model":"haiku","max_tokens":7,"stream":true,"messages":[{"role":"user","content":"[[hang]]"}]}`)
	go func() { _, err := p.Generate(t.Context(), call, out); ended <- err }()
	<-running
	p.Close()
	if e := apierror.From(<-ended); e == nil || e.Category != apierror.CLIError {
		t.Errorf("err = %v", e)
	}
	if _, err := ask(t, p, "a", "", "x"); apierror.From(err) == nil || apierror.From(err).Category != apierror.Overloaded {
		t.Errorf("after Close: %v", err)
	}
}
