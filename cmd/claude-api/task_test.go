package main

import (
	"bufio"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/postgres/pgtest"
)

// agentic is a task as the service tells of it.
type agentic struct {
	ID, Status, Result, Model string
	SessionID                 string     `json:"session_id"`
	StopReason                string     `json:"stop_reason"`
	Log                       []logEntry `json:"execution_log"`
	Artifacts                 []struct {
		Path, Change string
		Bytes        int64
		Kept         bool
	}
	Usage struct {
		Total int64 `json:"total_tokens"`
	}
	Cost  float64 `json:"cost_usd"`
	Error struct{ Type, Param, Code string }
}

type logEntry struct {
	Type, Tool string
	ID         string `json:"tool_use_id"`
	Input      map[string]any
	Output     any
	IsError    bool `json:"is_error"`

	Parent, Agent string
	Time          time.Time
}

// taskStand is a service on the real CLI, whose key may do everything.
func taskStand(t *testing.T, version string, further ...string) *stand {
	t.Helper()
	up := newUpstream(t)
	return taskStandOn(t, t.TempDir(), up, clitest.Path(t, version), further...)
}

func taskStandOn(t *testing.T, data string, up *upstream, cli string, further ...string) *stand {
	t.Helper()
	s := &stand{service: serveOn(t, data, up.url, cli, append([]string{"--min-workers=1", "--task-spares=0"}, further...)...), upstream: up}
	s.key = command(t, s.env, "keys", "create", "--data-dir="+s.data, "--project-id=e2e", "--profile=enterprise", "--rate-limit=0", "-q")
	s.ready(t)
	s.db = s.ledger(t)
	return s
}

// again starts the service anew on the same data, with the same key.
func (s *stand) again(t *testing.T, cli string) *stand {
	t.Helper()
	next := &stand{service: serveOn(t, s.data, s.upstream.url, cli, "--min-workers=1", "--task-spares=0"), upstream: s.upstream}
	next.key = s.key
	return next
}

func taskBody(prompt string, members ...string) string {
	return `{"model":"haiku","description":` + quote(prompt) + strings.Join(append([]string{""}, members...), ",") + `}`
}

// later queues a task and gives its id.
func (s *stand) later(t *testing.T, prompt string, members ...string) string {
	t.Helper()
	a := s.post(t, "/v1/task", taskBody(prompt, append(members, `"async":true`)...))
	accepted := decode[agentic](t, a.body)
	if a.status != http.StatusAccepted || a.header.Get("Location") != "/v1/tasks/"+accepted.ID || accepted.Status != "queued" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	return accepted.ID
}

// events reads a task's events from the one behind after, up to one that holds a text.
func (s *stand) events(t *testing.T, id, after, until string) (read string) {
	t.Helper()
	response, err := s.client.Do(s.request(within(t), t, http.MethodGet, "/v1/tasks/"+id+"/events", "", "Last-Event-ID", after))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		t.Fatalf("%d %v", response.StatusCode, response.Header)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		read += lines.Text() + "\n"
		if until != "" && strings.Contains(lines.Text(), until) {
			return read
		}
	}
	if until != "" {
		t.Fatalf("there is no %q in %s", until, read)
	}
	return read
}

func (s *stand) ended(t *testing.T, id string) agentic {
	t.Helper()
	var a agentic
	eventually(t, patience, "the task has ended", func() bool {
		a = decode[agentic](t, s.get(t, "/v1/tasks/"+id).body)
		return a.Status != "queued" && a.Status != "running"
	})
	return a
}

func TestTasks(t *testing.T) {
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) {
			s := taskStand(t, version)
			t.Run("at once", func(t *testing.T) { testTaskAtOnce(t, s) })
			t.Run("as a stream", func(t *testing.T) { testTaskStream(t, s) })
			t.Run("later", func(t *testing.T) { testTaskLater(t, s) })
			t.Run("asks", func(t *testing.T) { testTaskAsks(t, s) })
			t.Run("order", func(t *testing.T) { testTaskOrder(t, s) })
			t.Run("agents", func(t *testing.T) { testTaskAgents(t, s) })
			t.Run("leaves", func(t *testing.T) { testTaskLeaves(t, s) })
			t.Run("cancelled", func(t *testing.T) { testTaskCancelled(t, s) })
			t.Run("refused", func(t *testing.T) { testTaskRefused(t, s) })
			t.Run("max_cost", func(t *testing.T) { testTaskCost(t, s) })
			t.Run("on a WebSocket", func(t *testing.T) { testTaskSocket(t, s) })
		})
	}
}

// writes is a prompt that has a file written by Bash, and then an answer.
func writes(file, text string) string {
	return `[[tool=Bash input={"command":"echo ` + text + ` > ` + file + `"}]] [[then]] [[text=it is written]]`
}

func testTaskAtOnce(t *testing.T, s *stand) {
	id := s.id()
	body := taskBody(writes("made.txt", "marmalade"), `"allow_tools":["Bash"]`, `"unknown":1`)
	a := s.post(t, "/v1/task", body, "X-Request-ID", id, "Idempotency-Key", id)
	got := decode[agentic](t, a.body)
	if a.status != 200 || got.Status != "completed" || got.Result != "it is written" || got.StopReason != "end_turn" || a.header.Get("X-Claude-Backend") != "cli" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if len(got.Log) != 2 || got.Log[0].Tool != "Bash" || got.Log[0].Input["command"] != "echo marmalade > made.txt" || got.Log[1].ID != got.Log[0].ID || got.Log[1].IsError {
		t.Errorf("log %+v", got.Log)
	}
	if len(got.Artifacts) != 1 || got.Artifacts[0].Path != "made.txt" || got.Artifacts[0].Change != "created" || !got.Artifacts[0].Kept {
		t.Fatalf("artifacts %+v", got.Artifacts)
	}
	if file := s.get(t, "/v1/tasks/"+got.ID+"/artifacts/made.txt"); file.status != 200 || file.body != "marmalade\n" {
		t.Errorf("%d %q", file.status, file.body)
	}
	if list := s.get(t, "/v1/tasks/"+got.ID+"/artifacts"); !strings.Contains(list.body, `"path":"made.txt"`) {
		t.Errorf("%s", list.body)
	}
	if got.Usage.Total == 0 || got.Cost == 0 || !strings.Contains(a.header.Get("X-Claude-Warnings"), "unknown: has no effect here") {
		t.Errorf("%s %v", a.body, a.header)
	}
	outer, calls := row(t, s.db, id), int64(0)
	for _, r := range rows(t, s.db) {
		if strings.HasPrefix(r.RequestID, got.ID) {
			calls += r.Usage.Total()
		}
	}
	if outer.Status != 200 || outer.Usage.Total() != 0 || calls != got.Usage.Total {
		t.Errorf("the ledger has %+v and %d tokens of calls, the answer %d", outer, calls, got.Usage.Total)
	}
	replayed := s.post(t, "/v1/task", body, "Idempotency-Key", id)
	if replayed.body != a.body || replayed.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("replayed: %d %s", replayed.status, replayed.body)
	}
}

func testTaskStream(t *testing.T, s *stand) {
	a := s.post(t, "/v1/task", taskBody(writes("a", "b"), `"stream":true`))
	at := 0
	for _, want := range []string{"id: 1\nevent: status\n", "event: tool_use\n", `"tool":"Bash"`, "event: tool_result\n", "event: token\n", "event: text\n", "event: result\n", `"result":"it is written"`} {
		next := strings.Index(a.body[at:], want)
		if next < 0 {
			t.Fatalf("%d: no %q behind %d in %s", a.status, want, at, a.body)
		}
		at += next
	}
	id := decode[agentic](t, a.body[strings.Index(a.body, "data: ")+6:strings.Index(a.body, "}\n")+1]).ID
	if again := s.events(t, id, "0", ""); strings.Count(again, "event: result") != 1 || strings.Contains(again, "event: token") {
		t.Errorf("%s", again)
	}
}

func testTaskLater(t *testing.T, s *stand) {
	id := s.later(t, `[[tool=Bash input={"command":"echo one"}]] [[then]] [[delay=300ms]] [[text=done later]]`)
	// Two read at once, and one goes on from where it was cut off.
	all := make(chan string, 1)
	go func() { all <- s.events(t, id, "", "") }()
	first := s.events(t, id, "", "event: tool_use")
	rest := s.events(t, id, "2", "")
	if whole := <-all; strings.Count(whole, "event: result") != 1 || strings.Count(whole, "id: 1\n") != 1 || strings.Count(first, "id: 1\n") != 1 {
		t.Errorf("%s", whole)
	}
	if strings.Contains(rest, "id: 2\n") || !strings.Contains(rest, "id: 3\n") || !strings.Contains(rest, `"result":"done later"`) {
		t.Errorf("behind 2: %s", rest)
	}
	if got := s.ended(t, id); got.Status != "completed" || got.Result != "done later" || len(got.Log) != 2 {
		t.Errorf("%+v", got)
	}
	mine := s.key
	s.key = command(t, s.env, "keys", "create", "--data-dir="+s.data, "--project-id=e2e", "-q")
	for _, path := range []string{"", "/events", "/artifacts", "/artifacts/x"} {
		if a := s.get(t, "/v1/tasks/"+id+path); a.status != http.StatusNotFound {
			t.Errorf("another key gets %d at %q", a.status, path)
		}
	}
	s.key = mine
	if list := s.get(t, "/v1/tasks?limit=1&status=completed"); !strings.Contains(list.body, `"tasks":[{"id":"`+id+`"`) || !strings.Contains(list.body, `"has_more":true`) {
		t.Errorf("%s", list.body)
	}
	if a := s.do(t, s.request(within(t), t, http.MethodDelete, "/v1/tasks/"+id, "")); a.status != 200 || a.body != `{"id":"`+id+`","deleted":true}` {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := s.get(t, "/v1/tasks/"+id); a.status != http.StatusNotFound {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func testTaskAsks(t *testing.T, s *stand) {
	for _, decision := range []string{"allow", "deny"} {
		id := s.later(t, writes("asked", "x"), `"allow_tools":[]`, `"approval":"ask"`)
		s.events(t, id, "", "event: approval")
		for i, want := range []int{200, 409} {
			if a := s.post(t, "/v1/tasks/"+id+"/approvals/1", `{"decision":"`+decision+`"}`); a.status != want {
				t.Errorf("%s, answer %d: %d %s", decision, i, a.status, a.body)
			}
		}
		got := s.ended(t, id)
		if events := s.events(t, id, "", ""); !strings.Contains(events, `"decision":"`+decision+`","by":"caller"`) {
			t.Errorf("%s", events)
		}
		if got.Status != "completed" || (len(got.Artifacts) == 1) != (decision == "allow") || got.Log[1].IsError != (decision == "deny") {
			t.Errorf("%s: %+v", decision, got)
		}
	}
}

func testTaskLeaves(t *testing.T, s *stand) {
	id := s.id()
	lines, leave := s.open(t, "/v1/task", taskBody(`[[tool=Bash input={"command":"sleep 60"}]]`, `"stream":true`), "X-Request-ID", id)
	until(t, lines, "event: tool_use")
	leave()
	s.left(t, id)
	// The job ends behind the row.
	eventually(t, patience, "the task is cancelled", func() bool {
		return strings.Contains(s.get(t, "/v1/tasks?limit=1").body, `"status":"cancelled"`)
	})
}

func testTaskCancelled(t *testing.T, s *stand) {
	id := s.later(t, `[[tool=Bash input={"command":"sleep 60"}]]`)
	s.events(t, id, "", "event: tool_use")
	if a := s.do(t, s.request(within(t), t, http.MethodDelete, "/v1/tasks/"+id, "")); a.status != http.StatusAccepted && a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
	if got := s.ended(t, id); got.Status != "cancelled" || len(got.Log) == 0 {
		t.Errorf("%+v", got)
	}
}

func testTaskRefused(t *testing.T, s *stand) {
	mine := s.key
	defer func() { s.key = mine }()
	s.key = command(t, s.env, "keys", "create", "--data-dir="+s.data, "--project-id=e2e", "--profile=free", "-q")
	for _, tt := range []struct{ members, param string }{
		{`"allow_tools":["Bash"]`, "allow_tools"},
		{`"allow_agents":["x"]`, "allow_agents"},
		{`"max_cost":0.2`, "max_cost"},
		{`"working_directory":"/tmp"`, "working_directory"},
	} {
		a := s.post(t, "/v1/task", taskBody("x", tt.members))
		if got := decode[agentic](t, a.body); a.status != http.StatusForbidden || got.Error.Param != tt.param || !strings.HasPrefix(a.body, `{"detail":"`) {
			t.Errorf("%s: %d %s", tt.members, a.status, a.body)
		}
	}
	for _, body := range []string{`{}`, `{"description":" "}`, taskBody("x", `"stream":true`, `"async":true`), taskBody("x", `"timeout":0`)} {
		if a := s.post(t, "/v1/task", body); a.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
}

func testTaskCost(t *testing.T, s *stand) {
	a := s.post(t, "/v1/task", taskBody(writes("a", "b"), `"max_cost":0.000001`))
	if got := decode[agentic](t, a.body); a.status != 200 || got.Status != "failed" || got.Error.Code != "max_cost" || got.Error.Type != "budget_exceeded" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestTaskWithoutCLI says that there is none.
func TestTaskWithoutCLI(t *testing.T) {
	up := newUpstream(t)
	for name, flag := range map[string]string{"off": "--claude-path=off", "none at once": "--max-tasks=0"} {
		cli := clitest.Path(t, install.Version)
		s := serve(t, up.url, cli, flag)
		if a := s.post(t, "/v1/task", taskBody("x")); a.status != http.StatusNotImplemented || !strings.Contains(a.body, `"detail":"tasks `) {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

// TestTaskKilled kills the service with a task at several points of its life, and
// starts it again: what may have changed something isn't done twice.
func TestTaskKilled(t *testing.T) {
	newest, oldest := install.Version, clitest.Versions[len(clitest.Versions)-1]
	const slow = ` [[delay=5s]] [[text=done in the end]]`
	const wrote = `[[tool=Bash input={"command":"echo x >> count"}]] [[then]]` + slow
	for _, tt := range []struct {
		name, version, prompt, until string
		signal                       syscall.Signal
		status, result               string
		tools                        string
	}{
		{"before any tool", newest, slow, `"status":"running"`, syscall.SIGKILL, "completed", "done in the end", ""},
		{"after a tool that only reads", newest, `[[tool=Glob input={"pattern":"*"}]] [[then]]` + slow, "event: tool_result", syscall.SIGKILL, "completed", "done in the end", "Glob Glob"},
		{"in the middle of Bash", newest, `[[tool=Bash input={"command":"sleep 50"}]] [[then]]` + slow, "event: tool_use", syscall.SIGKILL, "failed", "", "Bash"},
		{"after Bash", newest, wrote, "event: tool_result", syscall.SIGKILL, "completed", "interrupted from outside", "Bash"},
		{"after Bash, the older CLI", oldest, wrote, "event: tool_result", syscall.SIGKILL, "completed", "interrupted from outside", "Bash"},
		{"stopped after Bash", newest, wrote, "event: tool_result", syscall.SIGTERM, "completed", "interrupted from outside", "Bash"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up, cli := newUpstream(t), clitest.Path(t, tt.version)
			s := taskStandOn(t, t.TempDir(), up, cli)
			id := s.later(t, tt.prompt, `"timeout":600`)
			before := s.events(t, id, "", tt.until)
			if tt.until == "event: tool_result" {
				// The session's file is behind what is told of it.
				eventually(t, patience, "the upstream is asked again", func() bool { return up.Stats().InFlight > 0 })
			}
			s.signal(t, tt.signal)
			s.exit(t)
			s = s.again(t, cli)
			s.ready(t)
			events := s.events(t, id, "1", "")
			got := s.ended(t, id)
			if got.Status != tt.status || !strings.Contains(got.Result, tt.result) || tt.status == "failed" && got.Error.Type != "interrupted" {
				t.Errorf("%+v\nbefore %s\nafter %s", got, before, events)
			}
			var tools []string
			for _, e := range got.Log {
				if e.Type == "tool_use" {
					tools = append(tools, e.Tool)
				}
			}
			if strings.Join(tools, " ") != tt.tools {
				t.Errorf("tools %v", tools)
			}
			if tt.signal == syscall.SIGTERM && len(got.Artifacts) != 1 {
				t.Errorf("artifacts %+v", got.Artifacts)
			}
		})
	}
}

// testTaskSocket does a task on a WebSocket, which asks, and another one that is
// cancelled.
func testTaskSocket(t *testing.T, s *stand) {
	c := s.socket(t)
	body := strings.Replace(taskBody(writes("a", "b"), `"id":"t"`, `"allow_tools":[]`, `"approval":"ask"`), "{", `{"type":"agentic_task",`, 1)
	c.send(body)
	var seen []string
	for {
		m := c.receive()
		if m.Type != "thinking" && m.Type != "token" {
			seen = append(seen, m.Type)
		}
		if m.ID != "t" || m.RequestID == "" {
			t.Errorf("%+v", m)
		}
		if m.Type == "approval" {
			c.send(`{"type":"approval","id":"t","n":1,"decision":"allow"}`)
		}
		if m.Type == "result" || m.Type == "error" {
			break
		}
	}
	if got, want := strings.Join(seen, " "), "status status tool_use approval approval_resolved tool_result text result"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	c.send(strings.Replace(taskBody(`[[tool=Bash input={"command":"sleep 60"}]]`, `"id":"u"`), "{", `{"type":"agentic_task",`, 1))
	for m := c.receive(); m.Type != "tool_use"; m = c.receive() {
		if m.ID != "u" {
			t.Errorf("%+v", m)
		}
	}
	c.send(`{"type":"cancel"}`)
	if m := c.receive(); m.Type != "error" || m.Error.Code != "cancelled" {
		t.Errorf("%+v", m)
	}
}

// TestTasksPage runs every command of docs/tasks.md, in the order of the page.
func TestTasksPage(t *testing.T) {
	s := taskStand(t, install.Version)
	out := runPage(t, "tasks.md", 7, environment(t, "URL="+s.url, "KEY="+s.key))
	at := 0
	for _, want := range []string{
		`"status":"completed","description":"Say what is`, `"result":"Echo: Say what is in this folder."`,
		"event: result", "event: result", `"result":"Echo: Name a lake."`, `{"tasks":[{"id":"task_`, `{"artifacts":[]}`,
		"the task has asked no such question", `"deleted":true`,
		"status: running\n", "text: Echo: Name a mountain.\n", "result: Echo: Name a mountain.\n", "completed\n", "id,status,", " is forgotten\n",
	} {
		next := strings.Index(out[at:], want)
		if next < 0 {
			t.Fatalf("no %q behind %q", want, out[at:])
		}
		at += next + len(want)
	}
}

func TestTasksCommandRefusals(t *testing.T) {
	env := environment(t)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"tasks", "list"}, "a key is needed"},
		{[]string{"tasks", "get", "x", "--key-file=/nowhere"}, "/nowhere"},
	} {
		p := start(t, env, tt.args...)
		if code := p.exit(t); code != exitRefused || !strings.Contains(p.stderr.String(), tt.want) {
			t.Errorf("%v: %d %s", tt.args, code, p.stderr.String())
		}
	}
}

// testTaskAgents has a sub-agent change something: its tools are told of, and noted,
// before they run.
func testTaskAgents(t *testing.T, s *stand) {
	inner := quote(`[[tool=Bash input={"command":"echo x > y"}]] [[then]] [[text=written]]`)
	prompt := `[[tool=Agent input={"description":"d","prompt":` + inner + `,"subagent_type":"general-purpose"}]] [[then]] [[text=all done]]`
	id := s.later(t, prompt, `"allow_tools":["Agent"]`, `"approval":"ask"`)
	s.events(t, id, "", "event: approval")
	if a := s.post(t, "/v1/tasks/"+id+"/approvals/1", `{"decision":"allow"}`); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	got := s.ended(t, id)
	events := s.events(t, id, "", "")
	if used, asked := strings.Index(events, `"tool":"Bash"`), strings.Index(events, "event: approval"); used < 0 || used > asked {
		t.Errorf("the use of Bash is told of at %d, the question at %d: %s", used, asked, events)
	}
	if got.Status != "completed" || len(got.Log) != 4 || len(got.Artifacts) != 1 || got.Log[1].Parent != got.Log[0].ID || got.Log[1].Agent != "general-purpose" {
		t.Errorf("%+v", got)
	}
}

// testTaskOrder has tools say when they ran: each of them was told of before, and so it
// was noted.
func testTaskOrder(t *testing.T, s *stand) {
	const now = `[[tool=Bash input={"command":"date +%s%N"}]]`
	a := s.post(t, "/v1/task", taskBody(now+now+` [[then]] `+now+` [[then]] [[text=done]]`))
	told := map[string]time.Time{}
	results := 0
	for _, e := range decode[agentic](t, a.body).Log {
		if e.Type == "tool_use" {
			told[e.ID] = e.Time
			continue
		}
		results++
		text, _ := e.Output.(string)
		ran, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err != nil || told[e.ID].IsZero() || !told[e.ID].Before(time.Unix(0, ran)) {
			t.Errorf("told of at %s, ran at %s (%q, %v)", told[e.ID], time.Unix(0, ran), text, err)
		}
	}
	if results != 3 {
		t.Errorf("%d results: %s", results, a.body)
	}
}

// TestTaskKilledOnPostgres kills a node with a task and gives the task to another one,
// which has the same data folder.
func TestTaskKilledOnPostgres(t *testing.T) {
	database := "CLAUDE_API_DATABASE_URL=" + pgtest.Database(t)
	up, cli, data := newUpstream(t), clitest.Path(t, install.Version), t.TempDir()
	own := environment(t, database)
	s := &stand{upstream: up, service: serveOn(t, data, up.url, cli, database, "--min-workers=1", "--task-spares=0")}
	s.key = command(t, own, "keys", "create", "--data-dir="+data, "--project-id=e2e", "--profile=enterprise", "-q")
	s.ready(t)
	id := s.later(t, `[[tool=Bash input={"command":"echo x >> count"}]] [[then]] [[delay=5s]] [[text=never]]`)
	s.events(t, id, "", "event: tool_result")
	eventually(t, patience, "the upstream is asked again", func() bool { return up.Stats().InFlight > 0 })
	s.signal(t, syscall.SIGKILL)
	s.exit(t)
	next := &stand{upstream: up, service: serveOn(t, data, up.url, cli, database, "--min-workers=1", "--task-spares=0")}
	next.key = s.key
	next.ready(t)
	if got := next.ended(t, id); got.Status != "completed" || !strings.Contains(got.Result, "interrupted from outside") || len(got.Log) != 2 {
		t.Errorf("%+v", got)
	}
}
