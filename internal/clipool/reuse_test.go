package clipool_test

import (
	"os"
	"sync"
	"testing"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/claudecli/fakeclaude"
	"claude-code-api-service/internal/clipool"
)

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
