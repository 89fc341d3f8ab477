package agent_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/claudecli/install"
)

// lastBody is the upstream's last request.
func (s *service) lastBody() string {
	bodies := s.upstream.Bodies()
	return string(bodies[len(bodies)-1])
}

// TestConversation goes on for some turns on one process, and after its end on another
// one, in the same workspace.
func TestConversation(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version string) {
		s := newService(t, version, nil, nil)
		first := spec("key_1", "")
		c, err := s.Open(t.Context(), first)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		h := &heard{}
		o, err := c.Turn(t.Context(), "turn_1", quote("Remember rosemary "+call("Bash", map[string]any{"command": "echo 1 > kept"})), h)
		if err != nil || len(o.Artifacts) != 1 || o.Session != c.Session() || o.Workspace != c.Workspace() || o.Workspace == "" {
			t.Fatalf("%+v, %v", o, err)
		}
		if r := s.Status(); r.Idle != 1 || r.Running != 0 {
			t.Errorf("between turns: %+v", r)
		}
		again, err := c.Turn(t.Context(), "turn_2", quote("And thyme"), &heard{})
		if err != nil || again.Text != "Echo: And thyme" || len(again.Artifacts) != 0 || again.CostMicroUSD == nil || *again.CostMicroUSD == 0 {
			t.Fatalf("%+v, %v", again, err)
		}
		if !strings.Contains(s.lastBody(), "rosemary") {
			t.Error("the second turn doesn't know the first")
		}
		c.Close()
		<-c.Exited()
		s.nothingLeft(t)
		if _, err := c.Turn(t.Context(), "turn_3", quote("x"), &heard{}); err == nil {
			t.Error("a closed conversation answers")
		}

		later := spec("key_1", call("Bash", map[string]any{"command": "cat kept"}))
		later.Session, later.Workspace = o.Session, o.Workspace
		o, err = s.Run(t.Context(), later, h)
		if err != nil || o.Text != "Tool result: 1" || o.Session != later.Session || o.Workspace != later.Workspace {
			t.Errorf("%+v, %v", o, err)
		}
		if body := s.lastBody(); !strings.Contains(body, "rosemary") || !strings.Contains(body, "thyme") {
			t.Error("a later run doesn't know the conversation")
		}
		fork := spec("key_1", "And basil")
		fork.Session, fork.Workspace, fork.Fork = o.Session, o.Workspace, true
		o, err = s.Run(t.Context(), fork, h)
		if err != nil || o.Session == fork.Session || !strings.Contains(s.lastBody(), "rosemary") {
			t.Errorf("%+v, %v", o, err)
		}
		data, err := s.Transcript("key_1", fork.Session)
		if err != nil || !strings.Contains(string(data), "thyme") || strings.Contains(string(data), "basil") {
			t.Errorf("the transcript: %d bytes, %v", len(data), err)
		}
	})
}

// TestKeysDontSeeEachOthersSessions whichever way one asks for another's.
func TestKeysDontSeeEachOthersSessions(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version string) {
		s := newService(t, version, nil, nil)
		folder := t.TempDir()
		mine := spec("key_1", "Remember rosemary")
		mine.Directory = folder
		o, err := s.Run(t.Context(), mine, &heard{})
		if err != nil {
			t.Fatal(err)
		}
		theirs := spec("key_2", "What was it?")
		theirs.Directory, theirs.Session = folder, o.Session
		if o, err := s.Run(t.Context(), theirs, &heard{}); err == nil || strings.Contains(s.lastBody(), "What was it?") {
			t.Errorf("another key's session was resumed: %+v", o)
		}
		look := spec("key_2", steps(
			call("Bash", map[string]any{"command": "cat " + filepath.Join(s.folder, "key_1", "projects") + "/*/*.jsonl; cat ~/.claude/projects/*/*"}),
			call("Grep", map[string]any{"pattern": "rosemary", "path": s.folder}),
			"[[text=over]]",
		))
		h := &heard{}
		if _, err := s.Run(t.Context(), look, h); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(h.results(), "Remember rosemary") {
			t.Errorf("it was read: %s", h.results())
		}
		mine.ID, mine.Session, mine.Prompt = mine.ID+"_again", o.Session, quote("What was it?")
		if _, err := s.Run(t.Context(), mine, &heard{}); err != nil || !strings.Contains(s.lastBody(), "rosemary") {
			t.Errorf("its own key: %v", err)
		}
	})
}

func TestOneTurnAtATime(t *testing.T) {
	s := newService(t, install.Version, nil, nil)
	c, err := s.Open(t.Context(), spec("key_1", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, leave := context.WithCancel(t.Context())
	h := &heard{event: func(e agent.Event) error {
		if e.Type == agent.EventToken {
			if _, err := c.Turn(t.Context(), "turn_2", quote("x"), &heard{}); err == nil {
				t.Error("two turns at once")
			}
			leave()
		}
		return nil
	}}
	if _, err := c.Turn(ctx, "turn_1", quote("[[tokens=1000 interval=5ms]]"), h); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// The interrupted process goes on with the next turn.
	o, err := c.Turn(t.Context(), "turn_3", quote("still there"), &heard{})
	if err != nil || o.Text != "Echo: still there" {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestAConversationIsRestored on a machine that has never seen it.
func TestAConversationIsRestored(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version string) {
		here, there := newService(t, version, nil, nil), newService(t, version, nil, nil)
		o, err := here.Run(t.Context(), spec("key_1", "Remember rosemary"), &heard{})
		if err != nil {
			t.Fatal(err)
		}
		data, err := here.Transcript("key_1", o.Session)
		if err != nil {
			t.Fatal(err)
		}
		if err := there.Restore("key_1", "", o.Workspace, o.Session, data); err != nil {
			t.Fatal(err)
		}
		later := spec("key_1", "What was it?")
		later.Session, later.Workspace = o.Session, o.Workspace
		// What a run that was killed has left is an artifact of the one that goes on.
		if err := os.WriteFile(filepath.Join(there.folder, "key_1", "work", o.Workspace, "half.txt"), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		o, err = there.Run(t.Context(), later, &heard{})
		if err != nil || !strings.Contains(there.lastBody(), "rosemary") {
			t.Error(err)
		}
		if len(o.Artifacts) != 1 || o.Artifacts[0].Path != "half.txt" || o.Artifacts[0].Change != "created" || !o.Artifacts[0].Kept {
			t.Errorf("artifacts %+v", o.Artifacts)
		}
		if err := there.Forget("key_1", o.Workspace, later.ID); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(filepath.Join(there.folder, "key_1", "work")); err != nil || len(left) != 0 {
			t.Errorf("%v, %v", left, err)
		}
	})
}
