package clienttest_test

import (
	"strings"
	"sync"
	"testing"
)

// TestClients runs every client against one service.
func TestClients(t *testing.T) {
	if !*clients {
		t.Skip("SKIPPED: make test-clients runs the clients")
	}
	node := node(t)
	s := newStand(t)
	found := outcome{}
	var mu sync.Mutex
	// A group, so that the page is looked at when all have ended.
	t.Run("with", func(t *testing.T) {
		for _, table := range tables() {
			for _, c := range table.clients {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					var results []result
					if c.script != "" {
						results = s.runNode(t, node, c)
					} else {
						results = s.runGo(t, c)
					}
					for _, wrong := range c.compare(table.features, results) {
						t.Error(wrong)
					}
					mu.Lock()
					defer mu.Unlock()
					for _, r := range results {
						found.add(r)
					}
				})
			}
		}
	})
	// What a failed run would write is no page to compare with.
	if *update || !t.Failed() {
		checkPage(t, found)
	}
}

func TestCompare(t *testing.T) {
	c := client{name: "one", lacks: map[string]string{"b": "it has none"}}
	list := []feature{{"a", "first"}, {"b", "second"}}
	ok := func(feature, backend string) result { return result{Client: "one", Feature: feature, Backend: backend} }
	failed := ok("a", "cli")
	failed.Error = "what went wrong"
	for _, tt := range []struct {
		name    string
		results []result
		want    string
	}{
		{"all is well", []result{ok("a", "cli"), ok("a", "direct")}, ""},
		{"one failed", []result{failed, ok("a", "direct")}, "a on cli: what went wrong"},
		{"one didn't run", []result{ok("a", "cli")}, "a on direct: didn't run"},
		{"one ran twice", []result{ok("a", "cli"), ok("a", "cli"), ok("a", "direct")}, "a on cli: isn't declared, or ran twice"},
		{"one that it lacks ran", []result{ok("a", "cli"), ok("a", "direct"), ok("b", "cli")}, "b on cli: isn't declared, or ran twice"},
		{"another's", []result{{Client: "two", Feature: "a", Backend: "cli"}, ok("a", "direct")}, `a on cli: a result of "two"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(c.compare(list, tt.results), "; "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCell(t *testing.T) {
	c := client{
		lacks:   map[string]string{"lacked": "it has none"},
		refused: map[string]string{"half/cli": "on purpose", "wholly": "on purpose too"},
	}
	passed := map[string]bool{
		"good/cli": true, "good/direct": true, "bad/direct": true, "half/cli": true, "half/direct": true, "wholly/cli": true, "wholly/direct": true,
	}
	for feature, want := range map[string]string{
		"good": "yes", "bad": "CLI: no, direct: yes", "never": "no", "lacked": "– (1)",
		"half": "CLI: refused (1), direct: yes", "wholly": "refused (1)",
	} {
		if got := c.cell(passed, feature, func(string) int { return 1 }); got != want {
			t.Errorf("%s: %q, want %q", feature, got, want)
		}
	}
}

// TestDeclarations checks the tables themselves: no reason is for a feature that
// doesn't exist.
func TestDeclarations(t *testing.T) {
	for _, table := range tables() {
		known := map[string]bool{}
		for _, f := range table.features {
			if known[f.name] {
				t.Errorf("%s: %q stands twice", table.title, f.name)
			}
			known[f.name] = true
		}
		for _, c := range table.clients {
			for name, reason := range c.lacks {
				if !known[name] || reason == "" {
					t.Errorf("%s lacks %q: %q", c.name, name, reason)
				}
			}
			for name, reason := range c.refused {
				feature, _, _ := strings.Cut(name, "/")
				if !known[feature] || reason == "" {
					t.Errorf("%s is refused %q: %q", c.name, name, reason)
				}
			}
		}
	}
}
