package task_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/task"
)

func warns(h agent.Handler, text string) error {
	return h.Event(agent.Event{Type: agent.EventWarning, Time: time.Now(), Text: text})
}

// TestGoesOn stops the engine in the middle of a task, and starts another one: what
// the task does then depends on what it had done.
func TestGoesOn(t *testing.T) {
	pending := func(h agent.Handler) error {
		return h.Event(agent.Event{Type: agent.EventToolUse, Time: time.Now(), Tool: "Bash", ToolID: "t9", Input: jsontext.Value(`{"command":"sleep"}`)})
	}
	tests := []struct {
		name  string
		first func(h agent.Handler) error
		here  bool // the session is on this machine
		state job.State
		// of the second run
		session, prompt string
		log, status     string
	}{
		{"nothing done", func(agent.Handler) error { return nil }, false, job.Completed, "", `"do it"`, "Bash", "restarting"},
		{"only read", func(h agent.Handler) error { return uses(h, "Read", "t1") }, true, job.Completed, "", `"do it"`, "Read Bash", "restarting"},
		{"written", func(h agent.Handler) error { return uses(h, "Write", "t1") }, true, job.Completed, "s1", "interrupted", "Write Bash", "resuming"},
		{"written elsewhere", func(h agent.Handler) error { return uses(h, "Write", "t1") }, false, job.Failed, "", "", "Write", "interrupted"},
		{"in the middle", pending, true, job.Failed, "", "", "Bash", "interrupted"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			begun := make(chan struct{})
			runs := 0
			s := newStand(t, func(ctx context.Context, _ agent.Spec, h agent.Handler) (agent.Outcome, error) {
				if runs++; runs > 1 {
					return agent.Outcome{End: agent.EndCompleted, Text: "done", Session: "s2"}, errors.Join(started(h, "s2"), warns(h, "second"), uses(h, "Bash", "t2"))
				}
				if err := errors.Join(started(h, "s1"), warns(h, "first"), tt.first(h)); err != nil {
					return agent.Outcome{}, err
				}
				close(begun)
				<-ctx.Done()
				return agent.Outcome{Session: "s1", Workspace: "0011223344556677"}, context.Cause(ctx)
			})
			s.runner.transcripts["s1"] = tt.here
			s.start(t)
			v := s.submit(t, task.Request{Description: "do it"})
			<-begun
			s.stop(t)
			if got := s.get(t, v.ID); got.Status != job.Queued {
				t.Fatalf("after the stop: %+v", got)
			}
			if rows := s.rooms.Entries(); len(rows) != 0 {
				t.Errorf("a run that was handed on has a row: %+v", rows)
			}
			s.start(t)
			events := s.follow(t, v.ID, "")
			if n := slices.IndexFunc(events, func(e job.Event) bool {
				return strings.Contains(string(e.Data), `"status":"`+tt.status+`","attempt":2`)
			}); n < 0 || events[n].Type != task.EventStatus {
				t.Errorf("no status is %s: %+v", tt.status, events)
			}
			got := s.get(t, v.ID)
			warnings := []string{"first", "second"}
			if tt.state == job.Failed {
				warnings = warnings[:1]
			}
			if !slices.Equal(got.Warnings, warnings) {
				t.Errorf("warned of %q, want %q", got.Warnings, warnings)
			}
			if got.Status != tt.state || got.Status == job.Failed && got.Error.Type != job.CategoryInterrupted {
				t.Fatalf("%+v %+v", got, got.Error)
			}
			var tools []string
			for _, e := range got.Log {
				if e.Type == task.EventToolUse {
					tools = append(tools, e.Tool)
				}
			}
			if log := strings.Join(tools, " "); log != tt.log {
				t.Errorf("log: %s", log)
			}
			specs := s.runner.seen()
			if tt.state != job.Completed {
				if len(specs) != 1 {
					t.Errorf("it was begun again: %+v", specs)
				}
				return
			}
			last := specs[len(specs)-1]
			if last.Session != tt.session || !strings.Contains(string(last.Prompt), tt.prompt) || (last.Workspace != "") != (tt.session != "") || last.ID == specs[0].ID {
				t.Errorf("%+v", last)
			}
			if rows := s.rooms.Entries(); len(rows) != 1 {
				t.Errorf("rows = %+v", rows)
			}
			j, err := s.engine.Job(t.Context(), caller.KeyID, v.ID)
			if err != nil {
				t.Fatal(err)
			}
			s.tasks.Forgotten(t.Context(), j)
			want := []string{"0011223344556677/" + v.ID + "-1", "s1", "0011223344556677/" + v.ID + "-2", "s2"}
			if tt.session == "" && !slices.Equal(s.runner.forgot, want) {
				t.Errorf("forgot %q, want %q", s.runner.forgot, want)
			}
		})
	}
}

// A failure that passes is tried again where nothing was changed.
func TestTriesAgain(t *testing.T) {
	for _, tt := range []struct {
		name, tool string
		runs       int
		state      job.State
	}{
		{"only read", "Read", 2, job.Completed},
		{"written", "Bash", 1, job.Failed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			runs := 0
			s := newStand(t, func(_ context.Context, _ agent.Spec, h agent.Handler) (agent.Outcome, error) {
				err := errors.Join(started(h, "s1"), uses(h, tt.tool, "t1"))
				if runs++; runs == 1 && err == nil {
					err = apierror.New(apierror.UpstreamError, "it passes")
				}
				return agent.Outcome{End: agent.EndCompleted}, err
			})
			s.start(t)
			v := s.submit(t, task.Request{Description: "x"})
			s.follow(t, v.ID, "")
			if got := s.get(t, v.ID); got.Status != tt.state || runs != tt.runs {
				t.Errorf("%d runs: %+v", runs, got)
			}
		})
	}
}

// A stop of the service waits for a tool's result, so that the task can go on.
func TestAStopWaitsForATool(t *testing.T) {
	begun, let := make(chan struct{}), make(chan struct{})
	runs := 0
	s := newStand(t, func(ctx context.Context, spec agent.Spec, h agent.Handler) (agent.Outcome, error) {
		if runs++; runs > 1 {
			return agent.Outcome{End: agent.EndCompleted, Text: spec.Session}, started(h, spec.Session)
		}
		err := errors.Join(started(h, "s1"), h.Event(agent.Event{Type: agent.EventToolUse, Time: time.Now(), Tool: "Bash", ToolID: "t1"}))
		if err != nil {
			return agent.Outcome{}, err
		}
		close(begun)
		<-let
		if err := h.Event(agent.Event{Type: agent.EventToolResult, Time: time.Now(), ToolID: "t1", Content: jsontext.Value(`"x"`)}); err != nil {
			return agent.Outcome{}, err
		}
		<-ctx.Done()
		return agent.Outcome{Session: "s1"}, context.Cause(ctx)
	})
	s.runner.transcripts["s1"] = true
	s.start(t)
	v := s.submit(t, task.Request{Description: "x"})
	<-begun
	stopped := make(chan struct{})
	go func() { s.stop(t); close(stopped) }()
	close(let)
	<-stopped
	s.start(t)
	s.follow(t, v.ID, "")
	if got := s.get(t, v.ID); got.Status != job.Completed || got.Text != "s1" {
		t.Errorf("%+v", got)
	}
}

// What earlier runs have cost, the next one has less.
func TestTheCostOfAllRuns(t *testing.T) {
	begun := make(chan struct{})
	runs := 0
	s := newStand(t, func(ctx context.Context, _ agent.Spec, h agent.Handler) (agent.Outcome, error) {
		if runs++; runs > 1 {
			return agent.Outcome{End: agent.EndCompleted}, started(h, "s2")
		}
		if err := started(h, "s1"); err != nil {
			return agent.Outcome{}, err
		}
		close(begun)
		<-ctx.Done()
		cost := int64(300_000)
		return agent.Outcome{CostMicroUSD: &cost}, context.Cause(ctx)
	})
	s.start(t)
	v := s.submit(t, task.Request{Description: "x"})
	<-begun
	s.stop(t)
	s.start(t)
	s.follow(t, v.ID, "")
	if specs := s.runner.seen(); len(specs) != 2 || specs[1].MaxCostMicroUSD != task.DefaultCost-300_000 {
		t.Errorf("%+v", specs)
	}
}
