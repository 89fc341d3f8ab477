package task_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/task"
)

func TestCheck(t *testing.T) {
	many := make([]string, task.MaxNames+1)
	for i := range many {
		many[i] = "Read"
	}
	tests := []struct {
		name     string
		request  task.Request
		category apierror.Category
		param    string
	}{
		{"plain", task.Request{Description: "x"}, "", ""},
		{"all that is allowed", task.Request{Description: "x", Tools: []string{"Read", "Bash(git log:*)"}, Agents: []string{"scout"}, Skills: []string{"any"}, Cost: 2_000_000, Timeout: 10 * time.Minute}, "", ""},
		{"all", task.Request{Description: "x", Tools: []string{gateway.All}}, "", ""},
		{"a tool", task.Request{Description: "x", Tools: []string{"Read", "Write"}}, apierror.Permission, "allow_tools"},
		{"an agent", task.Request{Description: "x", Agents: []string{"other"}}, apierror.Permission, "allow_agents"},
		{"a folder", task.Request{Description: "x", Directory: "/tmp"}, apierror.Permission, "working_directory"},
		{"cost", task.Request{Description: "x", Cost: 2_000_001}, apierror.Permission, "max_cost"},
		{"timeout", task.Request{Description: "x", Timeout: 601 * time.Second}, apierror.Permission, "timeout"},
		{"nothing", task.Request{Description: " \n"}, apierror.BadRequest, "description"},
		{"much", task.Request{Description: strings.Repeat("x", task.MaxDescription+1)}, apierror.BadRequest, "description"},
		{"much system", task.Request{Description: "x", System: strings.Repeat("x", task.MaxSystem+1)}, apierror.BadRequest, "system"},
		{"many tools", task.Request{Description: "x", Tools: many}, apierror.BadRequest, "allow_tools"},
		{"an empty name", task.Request{Description: "x", Skills: []string{""}}, apierror.BadRequest, "allow_skills"},
		{"forever", task.Request{Description: "x", Timeout: 25 * time.Hour}, apierror.BadRequest, "timeout"},
		{"approval", task.Request{Description: "x", Approval: "maybe"}, apierror.BadRequest, "approval"},
		{"priority", task.Request{Description: "x", Priority: 5}, apierror.BadRequest, "priority"},
	}
	g := gateway.New((&rooms{}).options())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.request.Check(g, caller)
			e := apierror.From(err)
			if category(err) != tt.category || e != nil && (e.Param != tt.param || !strings.HasPrefix(e.Message, tt.param+": ")) {
				t.Errorf("%v", err)
			}
		})
	}
}

// What a request doesn't say is filled in, as far as the profile goes.
func TestDefaults(t *testing.T) {
	poor := *caller
	poor.Permissions.MaxCostMicroUSD, poor.Permissions.MaxTimeout = 100_000, time.Minute
	for _, tt := range []struct {
		name    string
		caller  *gateway.Caller
		cost    int64
		timeout time.Duration
	}{
		{"rich", caller, task.DefaultCost, task.DefaultTimeout},
		{"poor", &poor, 100_000, time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := task.Request{Description: "x"}
			if err := r.Check(gateway.New((&rooms{}).options()), tt.caller); err != nil {
				t.Fatal(err)
			}
			if r.Cost != tt.cost || r.Timeout != tt.timeout || r.Model != "auto" || r.Approval != task.ApprovalDeny {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestRunInTheRequest(t *testing.T) {
	cost := int64(30_000)
	s := newStand(t, func(_ context.Context, _ agent.Spec, h agent.Handler) (agent.Outcome, error) {
		err := errors.Join(
			started(h, "s1"), h.Event(agent.Event{Type: agent.EventToken, Text: "a"}), h.Event(agent.Event{Type: agent.EventText, Text: "ab"}),
			uses(h, "Read", "t1"),
		)
		o := agent.Outcome{End: agent.EndCompleted, Text: "done", Session: "s1", Workspace: "0011223344556677", Turns: 2, CostMicroUSD: &cost}
		o.Usage.InputTokens, o.Usage.OutputTokens = 3, 4
		o.Artifacts = []agent.Artifact{{Path: "a/b", Bytes: 9, Change: "created", Kept: true}, {Path: elsewhere, Change: "created", Kept: true}}
		return o, err
	})
	s.start(t)
	g, call := s.call(t)
	var heard []job.Event
	v, last, err := s.tasks.Run(t.Context(), g, call, &task.Request{Description: "do it", Tools: []string{}}, func(e job.Event) error {
		heard = append(heard, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if v.Status != job.Completed || v.Text != "done" || v.Usage.TotalTokens != 7 || *v.CostUSD != 0.03 || v.StopReason != "end_turn" || v.Turns != 2 {
		t.Errorf("%+v %+v", v, v.Result)
	}
	if len(v.Log) != 2 || v.Log[0].Tool != "Read" || string(v.Log[0].Input) != `{"x":1}` || v.Log[1].Tool != "Read" || string(v.Log[1].Output) != `"gave"` {
		t.Errorf("log = %+v", v.Log)
	}
	kept := s.follow(t, v.ID, "")
	if got, want := types(append(heard, last)), "status status token text tool_use tool_result result"; got != want {
		t.Errorf("heard %s", got)
	}
	if got, want := types(kept), "status status text tool_use tool_result result"; got != want {
		t.Errorf("kept %s", got)
	}
	for i, e := range kept {
		if e.Seq != int64(i+1) {
			t.Errorf("event %d has the number %d", i, e.Seq)
		}
	}
	if last.Seq != int64(len(kept)) || heard[3].Seq != 3 {
		t.Errorf("the caller's numbers differ: %d, %d", last.Seq, heard[3].Seq)
	}
	spec := s.runner.seen()[0]
	if spec.Prompt.String() != `"do it"` || spec.Tools == nil || len(spec.Tools) != 0 || spec.Agents[0] != gateway.All || spec.MaxCostMicroUSD != task.DefaultCost || spec.ID != v.ID+"-1" {
		t.Errorf("%+v", spec)
	}
	if rows := s.rooms.Entries(); len(rows) != 1 || rows[0].Category != "" || rows[0].Backend != gateway.BackendCLI || rows[0].Result.Usage.InputTokens != 0 || s.rooms.held != 0 {
		t.Errorf("rows = %+v, held = %d", rows, s.rooms.held)
	}
	if again := s.get(t, v.ID); again.Text != "done" || again.Status != job.Completed || again.Description != "do it" {
		t.Errorf("%+v", again)
	}
	file, about, err := s.tasks.Artifact(t.Context(), caller, v.ID, "a/b")
	if err != nil || about.Bytes != int64(len(v.ID+"-1 a/b")) {
		t.Errorf("%+v, %v", about, err)
	} else if err := file.Close(); err != nil {
		t.Error(err)
	}
	for path, want := range map[string]string{"a": "wasn't kept", elsewhere: "isn't on this machine"} {
		_, _, err := s.tasks.Artifact(t.Context(), caller, v.ID, path)
		if e := apierror.From(err); e == nil || e.Code != apierror.CodeNotFound || e.Param != "path" || !strings.Contains(e.Message, want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestEndsShort(t *testing.T) {
	for _, tt := range []struct {
		name     string
		outcome  agent.Outcome
		err      error
		category apierror.Category
		code     apierror.Code
	}{
		{"cost", agent.Outcome{End: agent.EndMaxCost, Text: "so far"}, nil, apierror.BudgetExceeded, "max_cost"},
		{"turns", agent.Outcome{End: agent.EndMaxTurns, Text: "so far"}, nil, apierror.BadRequest, "max_turns"},
		{"failed", agent.Outcome{Text: "so far"}, apierror.New(apierror.CLIError, "it died"), apierror.CLIError, "cli_error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStand(t, func(_ context.Context, _ agent.Spec, h agent.Handler) (agent.Outcome, error) {
				return tt.outcome, errors.Join(started(h, "s1"), uses(h, "Bash", "t"), tt.err)
			})
			s.start(t)
			g, call := s.call(t)
			v, last, err := s.tasks.Run(t.Context(), g, call, &task.Request{Description: "x"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if v.Status != job.Failed || v.Error.Type != string(tt.category) || v.Error.Code != string(tt.code) || v.Text != "so far" || len(v.Log) != 2 || last.Type != task.EventError {
				t.Errorf("%+v %+v", v, v.Error)
			}
			if rows := s.rooms.Entries(); len(rows) != 1 || rows[0].Category != string(tt.category) {
				t.Errorf("rows = %+v", rows)
			}
		})
	}
}

func TestTheCallerLeaves(t *testing.T) {
	begun := make(chan struct{})
	s := newStand(t, func(ctx context.Context, _ agent.Spec, _ agent.Handler) (agent.Outcome, error) {
		close(begun)
		<-ctx.Done()
		return agent.Outcome{}, context.Cause(ctx)
	})
	s.start(t)
	g, call := s.call(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	v, _, err := s.tasks.Run(ctx, g, call, &task.Request{Description: "x"}, nil)
	if err != nil || v.Status != job.Cancelled {
		t.Errorf("%+v, %v", v, err)
	}
	if again := s.get(t, v.ID); again.Status != job.Cancelled {
		t.Errorf("%+v", again)
	}
}

func TestTimeout(t *testing.T) {
	wait := func(ctx context.Context, _ agent.Spec, h agent.Handler) (agent.Outcome, error) {
		if err := started(h, "s"); err != nil {
			return agent.Outcome{}, err
		}
		<-ctx.Done()
		return agent.Outcome{}, context.Cause(ctx)
	}
	s := newStand(t, wait)
	s.start(t)
	g, call := s.call(t)
	v, _, err := s.tasks.Run(t.Context(), g, call, &task.Request{Description: "x", Timeout: time.Second}, nil)
	if err != nil || v.Status != job.Failed || v.Error.Type != "timeout" || *v.Error.Param != "timeout" {
		t.Errorf("%+v, %v", v, err)
	}
	later := s.submit(t, task.Request{Description: "x", Timeout: time.Second})
	s.follow(t, later.ID, task.EventError)
	s.follow(t, later.ID, "")
	if got := s.get(t, later.ID); got.Status != job.Failed || got.Error.Type != "timeout" {
		t.Errorf("%+v", got.Error)
	}
	if rows := s.rooms.Entries(); len(rows) != 2 || rows[1].Category != "timeout" || rows[1].Status != 504 {
		t.Errorf("rows = %+v", rows)
	}
}

func TestSubmit(t *testing.T) {
	s := newStand(t, func(_ context.Context, _ agent.Spec, h agent.Handler) (agent.Outcome, error) {
		return agent.Outcome{End: agent.EndCompleted, Text: "done"}, errors.Join(started(h, "s1"), uses(h, "Bash", "t1"))
	})
	s.start(t)
	v := s.submit(t, task.Request{Description: "x", Priority: 1})
	if v.Status != job.Queued || v.ID == "" {
		t.Errorf("%+v", v)
	}
	if got, want := types(s.follow(t, v.ID, "")), "status tool_use tool_result result"; got != want {
		t.Errorf("events %s", got)
	}
	if got := s.get(t, v.ID); got.Status != job.Completed || got.Text != "done" || len(got.Log) != 2 {
		t.Errorf("%+v", got)
	}
	if rows := s.rooms.Entries(); len(rows) != 1 || rows[0].RequestID != "req_1" || rows[0].Endpoint != task.Endpoint {
		t.Errorf("rows = %+v", rows)
	}
	list, err := s.tasks.List(t.Context(), caller, job.Filter{Limit: 5})
	if err != nil || len(list) != 1 || list[0].ID != v.ID || list[0].Result != nil {
		t.Errorf("%+v, %v", list, err)
	}
}

// A task whose caller may run no further one waits, and is tried again; nothing of
// that is in the ledger.
func TestItWaitsForTheCallersLimit(t *testing.T) {
	s := newStand(t, func(_ context.Context, _ agent.Spec, h agent.Handler) (agent.Outcome, error) {
		return agent.Outcome{End: agent.EndCompleted}, started(h, "s1")
	})
	refusals := 0
	s.rooms.admit = func(*gateway.Call) error {
		// The first call brought the task.
		if len(s.rooms.admitted) == 0 || refusals == 2 {
			return nil
		}
		refusals++
		return apierror.New(apierror.RateLimited, "too many at once")
	}
	s.start(t)
	v := s.submit(t, task.Request{Description: "x"})
	s.follow(t, v.ID, "")
	if got := s.get(t, v.ID); got.Status != job.Completed || refusals != 2 {
		t.Errorf("%+v after %d refusals", got, refusals)
	}
	if rows := s.rooms.Entries(); len(rows) != 1 || rows[0].Category != "" {
		t.Errorf("rows = %+v", rows)
	}
}

func TestASpentBudget(t *testing.T) {
	s := newStand(t, func(context.Context, agent.Spec, agent.Handler) (agent.Outcome, error) {
		return agent.Outcome{}, errors.New("it was begun")
	})
	s.rooms.reserve = func(*gateway.Call) error { return apierror.New(apierror.BudgetExceeded, "spent") }
	s.start(t)
	g, call := s.call(t)
	if _, _, err := s.tasks.Run(t.Context(), g, call, &task.Request{Description: "x"}, nil); category(err) != apierror.BudgetExceeded {
		t.Error(err)
	}
	v := s.submit(t, task.Request{Description: "x"})
	s.follow(t, v.ID, "")
	if got := s.get(t, v.ID); got.Status != job.Failed || got.Error.Type != "budget_exceeded" || len(s.runner.seen()) != 0 || s.rooms.held != 0 {
		t.Errorf("%+v, held %d", got, s.rooms.held)
	}
}

func TestARevokedKey(t *testing.T) {
	s := newStand(t, nil)
	s.start(t)
	s.callers.err = apierror.New(apierror.AuthError, "revoked")
	v := s.submit(t, task.Request{Description: "x"})
	if got := s.follow(t, v.ID, ""); got[len(got)-1].Type != task.EventError {
		t.Errorf("%s", types(got))
	}
	if got := s.get(t, v.ID); got.Status != job.Failed || got.Error.Type != "auth_error" {
		t.Errorf("%+v", got)
	}
}

// TestWhatIsAllowedNoMore while a task waits, isn't done: neither by a narrower profile nor
// in a folder that leads elsewhere by then.
func TestWhatIsAllowedNoMore(t *testing.T) {
	top := t.TempDir()
	folder := filepath.Join(top, "folder")
	if err := errors.Join(os.Mkdir(folder, 0o700), os.Mkdir(filepath.Join(top, "another"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for param, change := range map[string]func(p *gateway.Permissions){
		"":                  func(*gateway.Permissions) {},
		"allow_tools":       func(p *gateway.Permissions) { p.BlockedTools = []string{"Bash"} },
		"max_cost":          func(p *gateway.Permissions) { p.MaxCostMicroUSD = 1 },
		"working_directory": func(p *gateway.Permissions) { p.WorkingDirectories = nil },
		"swapped": func(*gateway.Permissions) {
			if err := errors.Join(os.Remove(folder), os.Symlink("another", folder)); err != nil {
				t.Error(err)
			}
			t.Cleanup(func() { _ = errors.Join(os.Remove(folder), os.Mkdir(folder, 0o700)) })
		},
	} {
		t.Run(param, func(t *testing.T) {
			s := newStand(t, func(context.Context, agent.Spec, agent.Handler) (agent.Outcome, error) {
				return agent.Outcome{End: agent.EndCompleted}, nil
			})
			s.options.Jobs = job.New(job.Options{Store: s.store})
			s.tasks = task.New(s.options)
			asking := *caller
			asking.Permissions.WorkingDirectories = []string{top}
			g, call := s.call(t)
			call.Caller = &asking
			v, err := s.tasks.Submit(t.Context(), g, call, &task.Request{Description: "x", Tools: []string{"Bash"}, Directory: folder})
			if err != nil {
				t.Fatal(err)
			}
			now := asking
			change(&now.Permissions)
			s.callers.now = &now
			s.start(t)
			s.follow(t, v.ID, "")
			got := s.get(t, v.ID)
			if param == "" {
				if got.Status != job.Completed || len(s.runner.seen()) != 1 {
					t.Errorf("%+v", got)
				}
				return
			}
			if got.Status != job.Failed || got.Error.Type != string(apierror.Permission) || len(s.runner.seen()) != 0 {
				t.Errorf("%+v, %d runs", got, len(s.runner.seen()))
			}
		})
	}
}

func TestTooManyWait(t *testing.T) {
	s := newStand(t, nil)
	s.options.Queued = 2
	s.engine = job.New(job.Options{Store: s.store}) // it runs none
	s.options.Jobs = s.engine
	s.tasks = task.New(s.options)
	for range 2 {
		s.submit(t, task.Request{Description: "x"})
	}
	g, call := s.call(t)
	if _, err := s.tasks.Submit(t.Context(), g, call, &task.Request{Description: "x"}); category(err) != apierror.RateLimited {
		t.Error(err)
	}
	if call.Caller != caller {
		t.Error("the call has another caller now")
	}
}

func TestCancel(t *testing.T) {
	begun := make(chan struct{})
	s := newStand(t, func(ctx context.Context, _ agent.Spec, h agent.Handler) (agent.Outcome, error) {
		if err := errors.Join(started(h, "s1"), uses(h, "Read", "t")); err != nil {
			return agent.Outcome{}, err
		}
		close(begun)
		<-ctx.Done()
		return agent.Outcome{Workspace: "0011223344556677"}, context.Cause(ctx)
	})
	s.start(t)
	s.engine.Forgotten(job.KindTask, s.tasks.Forgotten)
	v := s.submit(t, task.Request{Description: "x"})
	<-begun
	if _, removed, err := s.tasks.Cancel(t.Context(), caller, v.ID); err != nil || removed {
		t.Fatal(removed, err)
	}
	s.follow(t, v.ID, "")
	got := s.get(t, v.ID)
	if got.Status != job.Cancelled || len(got.Log) != 2 || got.Detail != "the task was cancelled" {
		t.Errorf("%+v", got)
	}
	if rows := s.rooms.Entries(); len(rows) != 1 || rows[0].Category != "client_closed" {
		t.Errorf("rows = %+v", rows)
	}
	if _, removed, err := s.tasks.Cancel(t.Context(), caller, v.ID); err != nil || !removed {
		t.Errorf("%t, %v", removed, err)
	}
	if _, err := s.tasks.Get(t.Context(), caller, v.ID); apierror.From(err).Code != apierror.CodeNotFound {
		t.Error(err)
	}
	if want := []string{"0011223344556677/" + v.ID + "-1", "s1"}; !slices.Equal(s.runner.forgot, want) {
		t.Errorf("forgot %q", s.runner.forgot)
	}
}

func TestSomebodyElses(t *testing.T) {
	s := newStand(t, nil)
	s.engine = job.New(job.Options{Store: s.store})
	s.options.Jobs = s.engine
	s.tasks = task.New(s.options)
	v := s.submit(t, task.Request{Description: "x"})
	other := *caller
	other.KeyID = "k2"
	_, one := s.tasks.Get(t.Context(), &other, v.ID)
	_, events := s.tasks.Events(t.Context(), &other, v.ID, 0)
	_, _, cancel := s.tasks.Cancel(t.Context(), &other, v.ID)
	_, _, artifact := s.tasks.Artifact(t.Context(), &other, v.ID, "x")
	_, call := s.call(t)
	call.Caller = &other
	answer := s.tasks.Answer(t.Context(), call, v.ID, task.Approval{N: 1, Decision: task.Allow})
	for name, err := range map[string]error{"get": one, "events": events, "cancel": cancel, "artifact": artifact, "answer": answer} {
		if e := apierror.From(err); e == nil || e.Code != apierror.CodeNotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Agents and skills that there aren't are refused before anything is done.
func TestUnknownNames(t *testing.T) {
	tasks := task.New(task.Options{Known: func(directory string) (agents, skills []string) {
		if directory != "" {
			t.Errorf("asked for %q", directory)
		}
		return []string{"other"}, []string{"deploy"}
	}})
	s := newStand(t, nil)
	for param, r := range map[string]task.Request{
		"allow_agents": {Description: "x", Agents: []string{"scout"}},
		"allow_skills": {Description: "x", Skills: []string{gateway.All, "deploy", "any"}},
	} {
		g, call := s.call(t)
		_, _, err := tasks.Run(t.Context(), g, call, &r, nil)
		if e := apierror.From(err); e == nil || e.Status() != 400 || e.Param != param || !strings.Contains(e.Message, "capabilities") {
			t.Errorf("%s: %v", param, err)
		}
	}
}

func TestOff(t *testing.T) {
	tasks := task.New(task.Options{Off: "there is no CLI"})
	s := newStand(t, nil)
	g, call := s.call(t)
	_, _, err := tasks.Run(t.Context(), g, call, &task.Request{Description: "x"}, nil)
	_, later := tasks.Submit(t.Context(), g, call, &task.Request{Description: "x"})
	for _, err := range []error{err, later} {
		if e := apierror.From(err); e == nil || e.Status() != 501 || e.Message != "there is no CLI" {
			t.Error(err)
		}
	}
}

// What a sub-agent does is told as its own.
func TestAgents(t *testing.T) {
	s := newStand(t, func(_ context.Context, _ agent.Spec, h agent.Handler) (agent.Outcome, error) {
		return agent.Outcome{End: agent.EndCompleted}, errors.Join(
			started(h, "s1"),
			h.Event(agent.Event{Type: agent.EventToolUse, Tool: "Task", ToolID: "t1", Input: jsontext.Value(`{"subagent_type":"scout"}`)}),
			h.Event(agent.Event{Type: agent.EventToolUse, Tool: "Grep", ToolID: "t2", Parent: "t1", Input: jsontext.Value(`{}`)}),
			h.Event(agent.Event{Type: agent.EventToolResult, ToolID: "t2", Parent: "t1", Content: jsontext.Value(`[]`), IsError: true}),
			h.Event(agent.Event{Type: agent.EventText, Parent: "t1", Text: "found"}),
		)
	})
	s.start(t)
	g, call := s.call(t)
	v, _, err := s.tasks.Run(t.Context(), g, call, &task.Request{Description: "x"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Log) != 3 || v.Log[0].Agent != "" || v.Log[1].Agent != "scout" || v.Log[1].Parent != "t1" || v.Log[2].Tool != "Grep" || v.Log[2].Agent != "scout" || !v.Log[2].IsError {
		t.Errorf("%+v", v.Log)
	}
	events := s.follow(t, v.ID, task.EventText)
	if got := string(events[len(events)-1].Data); got != `{"type":"text","content":"found","parent":"t1","agent":"scout"}` {
		t.Errorf("%s", got)
	}
}
