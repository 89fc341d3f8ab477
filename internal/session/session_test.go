package session_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/session"
)

func TestConversation(t *testing.T) {
	n := start(t, newStore(), nil)
	ann, bob := key("key_ann"), key("key_bob")
	s := n.create(t, ann, session.Wish{System: "be brief", Tools: []string{"Read"}})
	if s.Model != session.DefaultModel || s.Turns != 0 || s.TTL != session.DefaultTTL || !strings.HasPrefix(s.ID, "sess_") {
		t.Errorf("made %+v", s)
	}
	n.hears(t, ann, s.ID, "one", `"one"`)
	n.hears(t, ann, s.ID, "two", `"one" "two"`)
	opened, running, _ := n.state()
	if len(opened) != 1 || running != 1 {
		t.Fatalf("%d processes were started, %d run: one goes on", len(opened), running)
	}
	if spec := opened[0]; spec.Model != "claude-sonnet" || spec.System != "be brief" || len(spec.Tools) != 1 || spec.Agents[0] != gateway.All || spec.Ask {
		t.Errorf("started with %+v", spec)
	}
	got, err := n.Get(t.Context(), "key_ann", s.ID)
	if err != nil || got.Turns != 2 || got.System != "be brief" || !got.Used.After(s.Used) {
		t.Errorf("Get = %+v, %v", got, err)
	}
	// Nothing of it is another key's.
	if _, err := n.Get(t.Context(), "key_bob", s.ID); !is(err, 404, "session_id") {
		t.Errorf("Get by another key = %v", err)
	}
	if _, err := n.say(t, bob, s.ID, "x"); !is(err, 404, "session_id") {
		t.Errorf("a message of another key = %v", err)
	}
	if _, err := n.Fork(t.Context(), bob, s.ID); !is(err, 404, "session_id") {
		t.Errorf("Fork by another key = %v", err)
	}
	if err := n.Delete(t.Context(), "key_bob", s.ID); !is(err, 404, "session_id") {
		t.Errorf("Delete by another key = %v", err)
	}
	if list, err := n.List(t.Context(), "key_bob"); err != nil || len(list) != 0 {
		t.Errorf("List of another key = %+v, %v", list, err)
	}
	n.hears(t, ann, s.ID, "three", `"one" "two" "three"`)
}

func TestRefusals(t *testing.T) {
	n := start(t, newStore(), func(o *session.Options) {
		o.Most, o.TTL = 2, time.Hour
		o.Known = func(directory string) (agents, skills []string) {
			if directory == "/srv" {
				return []string{"a"}, []string{"s"}
			}
			return nil, nil
		}
	})
	poor := key("key_poor")
	poor.Permissions = gateway.Permissions{AllowedTools: []string{"Read"}, AllowedAgents: []string{"a"}, WorkingDirectories: []string{"/srv"}}
	for _, tt := range []struct {
		name   string
		w      session.Wish
		status int
		param  string
	}{
		{"a tool", session.Wish{Tools: []string{"Read", "Bash"}}, 403, "allowed_tools"},
		{"an agent", session.Wish{Agents: []string{"a", "b"}}, 403, "allowed_agents"},
		{"a skill", session.Wish{Skills: []string{"s"}}, 403, "allowed_skills"},
		{"an agent that there isn't", session.Wish{Agents: []string{"a"}}, 400, "allowed_agents"},
		{"too many tools", session.Wish{Tools: slices.Repeat([]string{"Read"}, 200)}, 400, "allowed_tools"},
		{"a skill's name that is too long", session.Wish{Skills: []string{strings.Repeat("x", 2_000)}}, 400, "allowed_skills"},
		{"a folder", session.Wish{Directory: "/etc"}, 403, "working_directory"},
		{"a model", session.Wish{Model: "gpt"}, 404, "model"},
		{"too long a life", session.Wish{TTL: 2 * time.Hour}, 400, "ttl"},
		{"no life", session.Wish{TTL: time.Millisecond}, 400, "ttl"},
		{"a system prompt", session.Wish{System: strings.Repeat("x", 70_000)}, 400, "system"},
	} {
		if _, err := n.Create(t.Context(), poor, tt.w); !is(err, tt.status, tt.param) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	n.create(t, poor, session.Wish{Tools: []string{"Read"}, Agents: []string{"a"}, Skills: []string{}, Directory: "/srv"})
	n.create(t, poor, session.Wish{})
	if _, err := n.Create(t.Context(), poor, session.Wish{}); !is(err, 429, "") {
		t.Errorf("a third of two: %v", err)
	}
	if _, err := n.say(t, poor, "../x", "hi"); !is(err, 404, "session_id") {
		t.Errorf("a path: %v", err)
	}
}

// TestTheProfileIsAskedAtEveryMessage: what is allowed at first may not be later, and a
// process that was started with more rights goes on with nothing.
func TestTheProfileIsAskedAtEveryMessage(t *testing.T) {
	n := start(t, newStore(), nil)
	s := n.create(t, key("key_1"), session.Wish{Tools: []string{"Bash"}, Directory: "/srv"})
	open := n.create(t, key("key_1"), session.Wish{})
	n.hears(t, key("key_1"), s.ID, "one", `"one"`)
	n.hears(t, key("key_1"), open.ID, "1", `"1"`)
	less := key("key_1")
	less.Permissions.BlockedTools = []string{"Bash"}
	if _, err := n.say(t, less, s.ID, "two"); !is(err, 403, "allowed_tools") {
		t.Errorf("a tool that isn't allowed any more: %v", err)
	}
	elsewhere := key("key_1")
	elsewhere.Permissions.WorkingDirectories = nil
	if _, err := n.say(t, elsewhere, s.ID, "two"); !is(err, 403, "working_directory") {
		t.Errorf("a folder that isn't allowed any more: %v", err)
	}
	n.hears(t, less, open.ID, "2", `"1" "2"`)
	opened, running, _ := n.state()
	if len(opened) != 3 || len(opened[2].Caller.Permissions.BlockedTools) != 1 || running > 2 {
		t.Errorf("%d were started, %d run: a process that had more rights must not go on", len(opened), running)
	}
	// Another caller of the same rights is the same.
	same := *less
	n.hears(t, &same, open.ID, "3", `"1" "2" "3"`)
	if opened, _, _ := n.state(); len(opened) != 3 {
		t.Errorf("%d were started", len(opened))
	}
}

func TestProcessesEndWhenTheyIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, newStore(), func(o *session.Options) { o.Idle = time.Minute })
		ann := key("key_1")
		s := n.create(t, ann, session.Wish{})
		n.hears(t, ann, s.ID, "one", `"one"`)
		time.Sleep(59 * time.Second)
		n.hears(t, ann, s.ID, "two", `"one" "two"`)
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if _, running, _ := n.state(); running != 1 {
			t.Fatalf("%d run before a minute", running)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if _, running, _ := n.state(); running != 0 {
			t.Fatalf("%d run after a minute", running)
		}
		n.hears(t, ann, s.ID, "three", `"one" "two" "three"`)
		if opened, _, _ := n.state(); len(opened) != 2 || opened[1].Session == "" || opened[1].Workspace == "" {
			t.Errorf("started again with %+v", opened)
		}
		n.Close()
	})
}

func TestTheLeastRecentlyUsedGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, newStore(), func(o *session.Options) { o.MaxProcesses = 2 })
		ann := key("key_1")
		var ids []string
		for range 3 {
			ids = append(ids, n.create(t, ann, session.Wish{}).ID)
		}
		for _, id := range []string{ids[0], ids[1], ids[0], ids[2]} {
			if _, err := n.say(t, ann, id, "x"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if _, running, _ := n.state(); running != 2 {
			t.Errorf("%d run", running)
		}
		before, _, _ := n.state()
		n.hears(t, ann, ids[0], "y", `"x" "x" "y"`)
		n.hears(t, ann, ids[1], "y", `"x" "y"`)
		if after, _, _ := n.state(); len(after) != len(before)+1 {
			t.Errorf("%d were started: only the second one had given way", len(after)-len(before))
		}
		n.Close()
	})
}

func TestOneMessageAtATime(t *testing.T) {
	n := start(t, newStore(), nil)
	ann := key("key_1")
	s := n.create(t, ann, session.Wish{})
	began, finish := make(chan struct{}), make(chan struct{})
	n.during = func(context.Context) { close(began); <-finish }
	ended := make(chan error)
	go func() {
		_, err := n.say(t, ann, s.ID, "one")
		ended <- err
	}()
	<-began
	if _, err := n.say(t, ann, s.ID, "two"); !is(err, 409, "") || apierror.From(err).Code != apierror.CodeSessionBusy {
		t.Errorf("a second message: %v", err)
	}
	if _, err := n.Fork(t.Context(), ann, s.ID); !is(err, 409, "") {
		t.Errorf("a fork: %v", err)
	}
	close(finish)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	n.during = nil
	n.hears(t, ann, s.ID, "three", `"one" "three"`)
}

// TestATurnThatFailsHasNotBeen: the message may be sent again, and isn't there twice.
func TestATurnThatFailsHasNotBeen(t *testing.T) {
	for _, before := range []bool{false, true} {
		store := newStore()
		n := start(t, store, nil)
		ann := key("key_1")
		s := n.create(t, ann, session.Wish{})
		want := `"two"`
		if before {
			n.hears(t, ann, s.ID, "one", `"one"`)
			want = `"one" "two"`
		}
		boom := apierror.New(apierror.UpstreamError, "boom")
		n.fail = boom
		if _, err := n.say(t, ann, s.ID, "two"); !errors.Is(err, boom) {
			t.Errorf("the error is %v", err)
		}
		if _, running, _ := n.state(); running != 0 {
			t.Errorf("%d run: nobody knows what is in it", running)
		}
		store.fail = errors.New("disk on fire")
		if _, err := n.say(t, ann, s.ID, "two"); !is(err, 500, "") {
			t.Errorf("a turn that can't be kept: %v", err)
		}
		store.fail = nil
		n.end = agent.EndMaxCost
		if _, err := n.say(t, ann, s.ID, "two"); err != nil {
			t.Errorf("a turn that costs too much: %v", err)
		}
		n.hears(t, ann, s.ID, "two", want)
		if !before && len(n.forgot) != 3 {
			t.Errorf("workspaces of failed first turns: %q were removed", n.forgot)
		}
	}
}

// TestSessionsOutliveTheService, and the disk of the machine, and move to another one
// and back.
func TestSessionsOutliveTheService(t *testing.T) {
	store := newStore()
	n := start(t, store, nil)
	ann := key("key_1")
	s := n.create(t, ann, session.Wish{})
	n.hears(t, ann, s.ID, "one", `"one"`)
	n.Close()
	if _, err := n.say(t, ann, s.ID, "x"); !is(err, 503, "") {
		t.Errorf("after Close: %v", err)
	}
	n.boot(t, store, nil)
	n.hears(t, ann, s.ID, "two", `"one" "two"`)
	n.Close()

	n.lose()
	n.boot(t, store, nil)
	n.hears(t, ann, s.ID, "three", `"one" "two" "three"`)

	other := start(t, store, nil)
	other.hears(t, ann, s.ID, "four", `"one" "two" "three" "four"`)
	// The first one has a process at rest that knows nothing of that.
	n.hears(t, ann, s.ID, "five", `"one" "two" "three" "four" "five"`)
	other.hears(t, ann, s.ID, "six", `"one" "two" "three" "four" "five" "six"`)
	if kept := store.of("transcript"); len(kept) != 1 || kept[0] != s.ID+".6" {
		t.Errorf("transcripts %q are kept, want the last one", kept)
	}
}

// TestADirtyFileIsPutRight: a process that was killed in the middle of a turn has left
// lines behind that were never answered.
func TestADirtyFileIsPutRight(t *testing.T) {
	store := newStore()
	n := start(t, store, nil)
	ann := key("key_1")
	s := n.create(t, ann, session.Wish{})
	n.hears(t, ann, s.ID, "one", `"one"`)
	n.Close()
	for name := range n.files {
		n.files[name] += "{\"type\":\"user\",\"text\":\"lost\"}\n"
	}
	n.boot(t, store, nil)
	n.hears(t, ann, s.ID, "two", `"one" "two"`)
}

// TestALongConversationStaysOnItsMachine: it goes on there, also after a restart, and
// nowhere else.
func TestALongConversationStaysOnItsMachine(t *testing.T) {
	store := newStore()
	short := func(o *session.Options) { o.Transcript = 500 }
	n := start(t, store, short)
	ann := key("key_1")
	s := n.create(t, ann, session.Wish{})
	long := strings.Repeat("x", 600)
	n.hears(t, ann, s.ID, "one", `"one"`)
	n.hears(t, ann, s.ID, long, `"one" "`+long+`"`)
	if kept := store.of("transcript"); len(kept) != 0 {
		t.Errorf("%q are kept", kept)
	}
	fork, err := n.Fork(t.Context(), ann, s.ID)
	if err != nil {
		t.Fatal(err)
	}
	n.Close()
	n.boot(t, store, short)
	n.hears(t, ann, s.ID, "three", `"one" "`+long+`" "three"`)
	n.hears(t, ann, fork.ID, "four", `"one" "`+long+`" "four"`)
	other := start(t, store, short)
	if _, err := other.say(t, ann, s.ID, "four"); !is(err, 400, "") {
		t.Errorf("on another machine: %v", err)
	}
}

func TestFork(t *testing.T) {
	store := newStore()
	n := start(t, store, nil)
	ann := key("key_1")
	s := n.create(t, ann, session.Wish{System: "be brief"})
	fresh, err := n.Fork(t.Context(), ann, s.ID)
	if err != nil || fresh.Parent != s.ID {
		t.Fatalf("a fork of one without messages: %+v, %v", fresh, err)
	}
	n.hears(t, ann, s.ID, "one", `"one"`)
	fork, err := n.Fork(t.Context(), ann, s.ID)
	if err != nil || fork.ID == s.ID || fork.Turns != 1 || fork.System != "be brief" {
		t.Fatalf("a fork: %+v, %v", fork, err)
	}
	n.hears(t, ann, s.ID, "two", `"one" "two"`)
	n.hears(t, ann, fork.ID, "other", `"one" "other"`)
	n.hears(t, ann, s.ID, "three", `"one" "two" "three"`)
	n.hears(t, ann, fresh.ID, "new", `"new"`)
	list, err := n.List(t.Context(), "key_1")
	if err != nil || len(list) != 3 || list[0].ID != fresh.ID || list[1].ID != s.ID || list[2].ID != fork.ID {
		t.Errorf("List = %+v, %v", list, err)
	}
	if _, _, files := n.state(); len(files) != 3 || strings.Count(strings.Join(files, ""), "other") != 2 {
		t.Errorf("the files are %q", files)
	}
	less := key("key_1")
	less.Permissions.AllowedTools = nil
	limited := n.create(t, ann, session.Wish{Tools: []string{"Read"}})
	if _, err := n.Fork(t.Context(), less, limited.ID); !is(err, 403, "allowed_tools") {
		t.Errorf("a fork of what isn't allowed any more: %v", err)
	}
}

func TestDelete(t *testing.T) {
	store := newStore()
	n := start(t, store, nil)
	ann := key("key_1")
	s := n.create(t, ann, session.Wish{})
	n.hears(t, ann, s.ID, "one", `"one"`)
	fork, err := n.Fork(t.Context(), ann, s.ID)
	if err != nil {
		t.Fatal(err)
	}
	n.hears(t, ann, fork.ID, "two", `"one" "two"`)
	if err := n.Delete(t.Context(), "key_1", s.ID); err != nil {
		t.Fatal(err)
	}
	if len(n.forgot) != 0 {
		t.Errorf("the workspace %q was removed, in which the fork works", n.forgot)
	}
	n.hears(t, ann, fork.ID, "three", `"one" "two" "three"`)

	// In the middle of an answer.
	began := make(chan struct{})
	n.during = func(ctx context.Context) { close(began); <-ctx.Done() }
	ended := make(chan error)
	go func() {
		_, err := n.say(t, ann, fork.ID, "four")
		ended <- err
	}()
	<-began
	if err := n.Delete(t.Context(), "key_1", fork.ID); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !is(err, 404, "session_id") {
		t.Errorf("the message's end: %v", err)
	}
	_, running, files := n.state()
	if running != 0 || len(files) != 0 || len(n.forgot) != 1 || len(store.all) != 0 {
		t.Errorf("%d run, %d files, %d documents and %q removed", running, len(files), len(store.all), n.forgot)
	}
	if left, err := filepath.Glob(filepath.Join(n.folder, "*", "*", "*")); err != nil || len(left) != 0 {
		t.Errorf("%q are left", left)
	}
	if err := n.Delete(t.Context(), "key_1", fork.ID); !is(err, 404, "session_id") {
		t.Errorf("a second time: %v", err)
	}
}

func TestWhatHasExpiredIsRemoved(t *testing.T) {
	store := newStore()
	var n *node
	synctest.Test(t, func(t *testing.T) {
		n = start(t, store, nil)
		ann := key("key_1")
		short := n.create(t, ann, session.Wish{TTL: time.Minute})
		long := n.create(t, ann, session.Wish{})
		n.hears(t, ann, short.ID, "one", `"one"`)
		n.hears(t, ann, long.ID, "one", `"one"`)
		time.Sleep(time.Minute - time.Nanosecond)
		n.hears(t, ann, short.ID, "two", `"one" "two"`) // it lives on
		time.Sleep(time.Minute)
		if _, err := n.say(t, ann, short.ID, "three"); !is(err, 404, "session_id") {
			t.Errorf("after its life: %v", err)
		}
		old := time.Now().Add(-2 * session.SweepEvery)
		for _, s := range []session.Session{short, long} {
			if err := os.Chtimes(filepath.Join(n.folder, "key_1", "sessions", s.ID), old, old); err != nil {
				t.Fatal(err)
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		swept := make(chan struct{})
		go func() { n.Sweep(ctx); close(swept) }()
		synctest.Wait()
		if _, _, files := n.state(); len(files) != 1 || len(n.forgot) != 1 {
			t.Errorf("%d files are left, %q removed", len(files), n.forgot)
		}
		n.hears(t, ann, long.ID, "two", `"one" "two"`)
		stop()
		<-swept
		n.Close()
	})
}

// claims are a session.Claims of two nodes.
type claims struct{ held map[string]bool }

func (c *claims) Claim(_ context.Context, kind, keyID, id, _ string) (bool, string, error) {
	name := kind + keyID + id
	if c.held[name] {
		return false, "", nil
	}
	c.held[name] = true
	return true, "", nil
}

func (c *claims) Release(_ context.Context, kind, keyID, id string) error {
	delete(c.held, kind+keyID+id)
	return nil
}

func TestOtherNodesAreKeptAway(t *testing.T) {
	nodes := &claims{held: map[string]bool{}}
	n := start(t, newStore(), func(o *session.Options) { o.Claims = nodes })
	ann := key("key_1")
	s := n.create(t, ann, session.Wish{})
	n.hears(t, ann, s.ID, "one", `"one"`)
	if len(nodes.held) != 0 {
		t.Errorf("%v are held after the answer", nodes.held)
	}
	nodes.held["sessionkey_1"+s.ID] = true
	if _, err := n.say(t, ann, s.ID, "two"); !is(err, 409, "") {
		t.Errorf("another node is at work: %v", err)
	}
	delete(nodes.held, "sessionkey_1"+s.ID)
	n.hears(t, ann, s.ID, "three", `"one" "three"`)
}

func TestAProfilesTimeEndsATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, newStore(), nil)
		ann := key("key_1")
		ann.Permissions.MaxTimeout = time.Minute
		s := n.create(t, ann, session.Wish{})
		n.during = func(ctx context.Context) { <-ctx.Done() }
		if _, err := n.say(t, ann, s.ID, "one"); !is(err, 504, "") {
			t.Errorf("after a minute: %v", err)
		}
		n.Close()
	})
}

func TestCloseEndsWhatRuns(t *testing.T) {
	n := start(t, newStore(), nil)
	ann := key("key_1")
	s, resting := n.create(t, ann, session.Wish{}), n.create(t, ann, session.Wish{})
	n.hears(t, ann, resting.ID, "x", `"x"`)
	began := make(chan struct{})
	n.during = func(ctx context.Context) { close(began); <-ctx.Done() }
	ended := make(chan error)
	go func() {
		_, err := n.say(t, ann, s.ID, "one")
		ended <- err
	}()
	<-began
	n.Close()
	if err := <-ended; !is(err, 503, "") {
		t.Errorf("the message's end: %v", err)
	}
	if _, running, _ := n.state(); running != 0 {
		t.Errorf("%d run", running)
	}
}

func TestWhatTheProcessMayCost(t *testing.T) {
	n := start(t, newStore(), nil)
	ann := key("key_1")
	ann.Permissions.MaxCostMicroUSD = 70
	s := n.create(t, ann, session.Wish{})
	n.hears(t, ann, s.ID, "one", `"one"`)
	if opened, _, _ := n.state(); opened[0].MaxCostMicroUSD != 70 {
		t.Errorf("started with %+v", opened[0])
	}
}

var _ agent.Handler = (*heard)(nil)
