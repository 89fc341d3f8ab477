package top

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"go.uber.org/goleak"

	"claude-code-api-service/client"
)

var update = flag.Bool("update", false, "write the screens in testdata anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scripted is a Service that says what it was given, and remembers what it was asked.
type scripted struct {
	overview client.Overview
	requests client.Requests
	workers  client.Workers
	latency  client.Latency
	tasks    client.TaskPage
	err      error

	asked  []string
	window time.Duration
	killed []string
}

func (s *scripted) Overview(context.Context) (*client.Overview, error) {
	s.asked = append(s.asked, "overview")
	return &s.overview, s.err
}

func (s *scripted) Requests(context.Context, int) (*client.Requests, error) {
	s.asked = append(s.asked, "requests")
	return &s.requests, s.err
}

func (s *scripted) Workers(context.Context) (*client.Workers, error) {
	s.asked = append(s.asked, "workers")
	return &s.workers, s.err
}

func (s *scripted) Latency(_ context.Context, window time.Duration) (*client.Latency, error) {
	s.asked, s.window = append(s.asked, "latency"), window
	return &s.latency, s.err
}

func (s *scripted) Tasks(context.Context, client.TaskFilter) (*client.TaskPage, error) {
	s.asked = append(s.asked, "tasks")
	return &s.tasks, s.err
}

func (s *scripted) EndWorker(_ context.Context, id string) error {
	s.killed = append(s.killed, id)
	return s.err
}

// at is when everything of these tests happens.
var at = time.Date(2026, 3, 1, 12, 30, 15, 0, time.UTC)

func busy() *scripted {
	s := &scripted{}
	s.overview = client.Overview{
		Version: "1.2.3", Uptime: 7_260, Node: "node-a", Nodes: []client.Node{{ID: "node-a"}, {ID: "node-b"}}, Status: client.HealthDegraded, Ready: client.Readiness{Ready: true},
		Services: map[string]client.ServiceHealth{"cli": {Status: client.HealthOK}, "direct": {Status: client.HealthDegraded, Detail: "opus fails"}, "agents": {Status: client.HealthOff}},
		Pool:     &client.Pool{Idle: 1, Held: 1, Busy: 2, Starting: 1, Queued: 3, Min: 2, Max: 5},
		Breakers: []client.Breaker{{Backend: "direct", Family: "opus", State: "half_open"}, {Backend: "cli", Family: "haiku", State: "closed"}},
		Live:     2, QueuedJobs: 4, RunningJobs: 1, WaitingApprovals: 1,
	}
	s.overview.Rates.Requests, s.overview.Rates.ErrorRatio, s.overview.Rates.Tokens, s.overview.Rates.Cost = 12.34, 0.025, 987.6, 1_250_000
	s.overview.Memory.RSS = 64 << 20
	cost, first := int64(1_500), 320.4
	s.requests = client.Requests{
		Live: []client.Request{
			{ID: "req_live", Endpoint: "/v1/chat/completions", KeyName: "web", ProjectID: "shop", ModelRouted: "claude-haiku-5-5", Backend: "cli", Stage: "generate", ElapsedMS: 5_300, TTFTMS: &first, Stages: map[string]float64{"queue": 1_000, "first_byte": 500, "generate": 3_800}},
			{ID: "req_waits\x1b[2J", Endpoint: "/v1/messages", KeyID: "key_1", ProjectID: "shop", ModelRequested: "sonnet", Stage: "queue", ElapsedMS: 12_000},
		},
		Recent: []client.Request{
			{ID: "req_done", Endpoint: "/v1/process", KeyName: "batch", ProjectID: "lab", ModelAnswered: "claude-opus-5-5", Backend: "direct", Status: 200, ElapsedMS: 0.4, InputTokens: 900, OutputTokens: 40, CostMicroUSD: &cost, Stages: map[string]float64{"auth": 0.1, "first_byte": 0.3}},
			{ID: "task_1-1", Endpoint: "/v1/task", ProjectID: "lab", Backend: "direct", Status: 502, Category: "upstream_error", ElapsedMS: 80, Part: true},
		},
	}
	s.workers = client.Workers{Max: 5, Min: 2, Workers: []client.Worker{
		{ID: "worker_a", PID: 100, State: "busy", AgeSeconds: 65, Turns: 12, RSSBytes: 200 << 20, Model: "haiku", ProjectID: "shop", RequestID: "req_live"},
		{ID: "worker_b", PID: 99, State: "idle", AgeSeconds: 4_000, IdleSeconds: 30, Turns: 3, RSSBytes: 150 << 20},
		{ID: "worker_c", State: "starting", AgeSeconds: 0.5},
	}}
	s.latency = client.Latency{WindowSeconds: 60, Series: []client.LatencySeries{
		{Endpoint: "/v1/messages", Backend: "cli", Model: "haiku", Count: 120, P50MS: 800, P95MS: 2_000, P99MS: 12_345, MaxMS: 130_000, TTFTP50MS: 90.2},
		{Endpoint: "/v1/process", Backend: "direct", Model: "other", Count: 5, Errors: 2, P50MS: 9.5},
	}}
	dollars := 0.25
	s.tasks = client.TaskPage{Tasks: []client.Task{
		{ID: "task_2", Status: client.StatusRunning, CreatedAt: at.Add(-time.Minute), StartedAt: at.Add(-50 * time.Second), Attempt: 1, KeyID: "key_1", ProjectID: "shop", Description: "tidy\nup", Approvals: []client.Question{{N: 1}}},
		{ID: "task_1", Status: client.StatusFailed, CreatedAt: at.Add(-49 * time.Hour), StartedAt: at.Add(-49 * time.Hour), EndedAt: at.Add(-48 * time.Hour), Attempt: 3, CostUSD: &dollars},
	}}
	return s
}

// screen is a model in a terminal of a size, driven by hand.
type screen struct {
	*model
	t       *testing.T
	service *scripted
	next    tea.Cmd // what the last message has asked for
}

func newScreen(t *testing.T, s *scripted, width, height int) *screen {
	t.Helper()
	v := &screen{model: newModel(t.Context(), Options{Service: s, Address: "http://127.0.0.1:8006", Every: time.Second, Plain: true}), t: t, service: s}
	v.send(tea.WindowSizeMsg{Width: width, Height: height})
	v.next = v.Init()
	v.answer()
	return v
}

func (v *screen) send(msg tea.Msg) { _, v.next = v.Update(msg) }

// answer has the service answer what was asked.
func (v *screen) answer() {
	v.t.Helper()
	if v.next == nil {
		v.t.Fatal("nothing was asked")
	}
	msg := v.next()
	if s, ok := msg.(snapshot); ok {
		s.at = at
		msg = s
	}
	v.send(msg)
}

// press presses keys, each a letter or a name.
func (v *screen) press(keys ...string) {
	v.t.Helper()
	for _, key := range keys {
		press := tea.KeyPressMsg{Text: key, Code: []rune(key)[0]}
		for name, code := range map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "tab": tea.KeyTab, "up": tea.KeyUp, "down": tea.KeyDown, "backspace": tea.KeyBackspace, "end": tea.KeyEnd, "home": tea.KeyHome} {
			if key == name {
				press = tea.KeyPressMsg{Code: code}
			}
		}
		if key == "ctrl+c" {
			press = tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl}
		}
		v.send(press)
	}
}

// shows fails unless the screen holds the texts, and fits.
func (v *screen) shows(texts ...string) {
	v.t.Helper()
	view := v.View().Content
	for _, text := range texts {
		if !strings.Contains(view, text) {
			v.t.Errorf("there is no %q in\n%s", text, view)
		}
	}
	lines := strings.Split(view, "\n")
	if len(lines) != v.height {
		v.t.Errorf("%d lines in a terminal of %d", len(lines), v.height)
	}
	for _, line := range lines {
		if ansi.StringWidth(line) > v.width {
			v.t.Errorf("%d cells in a terminal of %d: %q", ansi.StringWidth(line), v.width, line)
		}
	}
}

// ids are those of the rows, in order.
func (v *screen) ids() string {
	var list []string
	for _, r := range v.table().rows {
		list = append(list, r.id)
	}
	return strings.Join(list, " ")
}

// TestScreens compares each tab with a file that a person can read.
func TestScreens(t *testing.T) {
	t.Setenv("TZ", "UTC")
	for n, name := range []string{"requests", "workers", "latency", "tasks", "help"} {
		v := newScreen(t, busy(), 150, 16)
		if name == "help" {
			v.press("?")
		} else if n > 0 {
			v.press(fmt.Sprint(n + 1))
			v.answer()
		}
		v.shows()
		got := ansi.Strip(v.View().Content)
		var lines []string
		for line := range strings.Lines(got) {
			lines = append(lines, strings.TrimRight(line, " \n"))
		}
		got = strings.Join(lines, "\n") + "\n"
		path := filepath.Join("testdata", name+".txt")
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
}

func TestSort(t *testing.T) {
	v := newScreen(t, busy(), 200, 20)
	const asTheyCome = "req_live req_waits\x1b[2J req_done task_1-1"
	if got := v.ids(); got != asTheyCome {
		t.Errorf("%q", got)
	}
	v.press("r")
	if got := v.ids(); got != "task_1-1 req_done req_waits\x1b[2J req_live" {
		t.Errorf("turned round: %q", got)
	}
	v.press("r", "s", "s", "s", "s")
	v.shows("TOOK↓")
	if got := v.ids(); got != "req_waits\x1b[2J req_live task_1-1 req_done" {
		t.Errorf("by time: %q", got)
	}
	v.press("r")
	v.shows("TOOK↑")
	if got := v.ids(); got != "req_done task_1-1 req_live req_waits\x1b[2J" {
		t.Errorf("by time, the shortest first: %q", got)
	}
	for range 9 {
		v.press("s")
	}
	v.shows("KEY↑")
	v.press("s")
	if got := v.ids(); got != asTheyCome {
		t.Errorf("behind the last column: %q", got)
	}
}

func TestFilter(t *testing.T) {
	v := newScreen(t, busy(), 150, 20)
	v.press("/")
	v.shows("/_", "type what to look for")
	v.press("O", "p", "u", "x", "backspace", "s", "q")
	v.shows("/Opusq_", "nothing with Opusq")
	v.press("backspace", "enter")
	v.shows("/Opus\n", "req_done")
	if got := v.ids(); got != "req_done" {
		t.Errorf("%q", got)
	}
	v.press("esc")
	if v.filter != "" || len(v.table().rows) != 4 {
		t.Errorf("filter %q, %q", v.filter, v.ids())
	}
	v.press("/", "x", "esc")
	if v.filter != "" || v.filtering {
		t.Error("esc leaves the filter")
	}
}

// Only what is looked at is asked for, each second, and nothing while it is paused.
func TestAsks(t *testing.T) {
	s := busy()
	v := newScreen(t, s, 100, 20)
	synctest.Test(t, func(*testing.T) {
		v.answer() // the tick, a second later
	})
	v.answer()
	v.press("3")
	v.answer()
	if got := strings.Join(s.asked, " "); got != "overview requests overview requests overview latency" || s.window != time.Minute {
		t.Errorf("asked for %s, of %s", got, s.window)
	}
	v.press("w")
	v.answer()
	v.shows("of the last 5m00s")
	v.press("w")
	v.answer()
	if s.window != 15*time.Minute {
		t.Errorf("window %s", s.window)
	}
	stale := v.generation
	v.press("p")
	v.shows("paused")
	if v.send(tick{stale}); v.next != nil {
		t.Error("it asks while it is paused")
	}
	v.press("p")
	v.answer()
	if v.send(tick{stale}); v.next != nil {
		t.Error("an old clock still runs")
	}
	// What comes for a tab that was left is thrown away, and the present one asked for.
	v.press("p", "p")
	late := v.next
	v.press("2")
	v.next = late
	v.answer()
	v.answer()
	v.shows("worker_a")
	if v.press("q"); v.next == nil || fmt.Sprint(v.next()) != fmt.Sprint(tea.Quit()) {
		t.Error("q doesn't leave")
	}
	if v.press("ctrl+c"); v.next == nil {
		t.Error("ctrl+c doesn't leave")
	}
}

// TestKill ends a worker, which is asked first.
func TestKill(t *testing.T) {
	s := busy()
	v := newScreen(t, s, 120, 20)
	v.press("x")
	if v.confirm != nil {
		t.Error("a request is no worker")
	}
	v.press("2")
	v.answer()
	v.press("x")
	v.shows("End worker worker_a? Its request req_live will fail. y: yes, any other key: no")
	v.press("n")
	v.shows("nothing was done")
	v.press("down", "x", "enter")
	v.press("x", "y")
	if v.next == nil {
		t.Fatal("nothing is done")
	}
	v.answer()
	v.shows("worker worker_b is ended")
	v.answer() // what there is now
	s.err = &client.Error{Status: 409, Message: "the worker is still being started"}
	v.press("end", "x", "y")
	v.answer()
	v.shows("worker worker_c isn't ended: the worker is still being started")
	if got := strings.Join(s.killed, " "); got != "worker_b worker_c" {
		t.Errorf("ended: %s", got)
	}
	// A list that has become shorter leaves the choice within it.
	s.err, s.workers.Workers = nil, s.workers.Workers[:1]
	v.answer()
	if v.cursor != 0 {
		t.Errorf("the line %d is chosen of one", v.cursor)
	}
	s.workers.Workers = nil
	v.press("p", "p")
	v.answer()
	v.press("x")
	if v.confirm != nil {
		t.Error("there is nothing to end")
	}
}

func TestErrors(t *testing.T) {
	s := busy()
	s.err = errors.New("first\x1b[31m")
	v := newScreen(t, s, 80, 12)
	v.shows("first?[31m")
	s.err = nil
	v.press("p", "p")
	v.answer()
	v.shows("req_live")
	s.err = &client.Error{Status: 503, Message: "stopping"}
	v.press("p", "p")
	v.answer()
	v.shows("req_live", "stopping  as of ")
}

// TestSizes shows each tab in terminals of all sizes, with many rows.
func TestSizes(t *testing.T) {
	s := busy()
	for i := range 50 {
		s.requests.Recent = append(s.requests.Recent, client.Request{ID: fmt.Sprintf("req_%d 界界界界", i), Status: 200, Endpoint: "/v1/messages"})
	}
	v := newScreen(t, s, 1, 1)
	for _, width := range []int{1, 7, 20, 60, 80, 300} {
		for _, height := range []int{1, 2, 3, 6, 7, 12, 60, 100} {
			v.send(tea.WindowSizeMsg{Width: width, Height: height})
			v.press("end")
			v.shows()
			v.press("?")
			v.shows()
			v.press("?", "home")
		}
	}
	v.send(tea.WindowSizeMsg{Width: 80, Height: 12})
	v.press("end")
	v.shows("req_49")
	v.press("up", "up", "up", "up", "up", "up", "up")
	v.shows("req_42")
	v.press("home")
	v.shows("req_live")
}

func TestLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		s := busy()
		begun := time.Now()
		if err := Line(t.Context(), Options{Service: s, Every: 2 * time.Second, Out: &out}, 2); err != nil {
			t.Fatal(err)
		}
		const line = "degraded  12.3 requests/s  2.5% errors  988 tokens/s  2 running  workers 2 busy 1 idle 3 waiting  tasks 1 running 4 queued 1 asking\n"
		if out.String() != line+line || time.Since(begun) != 2*time.Second {
			t.Errorf("in %s:\n%s", time.Since(begun), out.String())
		}
		s.overview.Ready, s.overview.Pool = client.Readiness{Reason: "no worker"}, nil
		out.Reset()
		if err := Line(t.Context(), Options{Service: s, Out: &out}, 1); err != nil || !strings.HasPrefix(out.String(), "not ready: no worker  ") || strings.Contains(out.String(), "workers") {
			t.Errorf("%s %v", out.String(), err)
		}
		s.err = errors.New("gone")
		if err := Line(t.Context(), Options{Service: s, Out: &out}, 1); !errors.Is(err, s.err) {
			t.Error(err)
		}
		s.err = nil
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := Line(ctx, Options{Service: s, Out: &out, Every: 2 * time.Second}, 9); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

func TestUnits(t *testing.T) {
	for want, got := range map[string]string{
		"-": milliseconds(0), "0.25ms": milliseconds(0.25), "99.9ms": milliseconds(99.9), "9999ms": milliseconds(9999), "10s": milliseconds(10_400),
		"<1s": long(0.2), "59s": long(59.9), "1m00s": long(60), "2h03m": long(7_380), "3d02h": long(3*86_400 + 2*3600),
		"0.00": dollars(0), "0.009999": dollars(9_999), "12.50": dollars(12_500_000),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
