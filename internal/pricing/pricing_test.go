package pricing_test

import (
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/pricing"
)

func embedded(t testing.TB) *pricing.Catalogue {
	t.Helper()
	c, err := pricing.New(pricing.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCost(t *testing.T) {
	c := embedded(t)
	million := message.Usage{InputTokens: 1e6, OutputTokens: 1e6, CacheReadInputTokens: 1e6, CacheCreationInputTokens: 1e6}
	for name, test := range map[string]struct {
		model string
		usage message.Usage
		want  int64
	}{
		"opus 5.5, a million of each":         {"claude-opus-5-5", million, 4_000_000 + 20_000_000 + 200_000 + 5_000_000},
		"sonnet 5.5, a million of each":       {"claude-sonnet-5-5", million, 2_000_000 + 10_000_000 + 100_000 + 2_500_000},
		"haiku 5.5, a long prompt":            {"claude-haiku-5-5", million, 500_000 + 2_500_000 + 50_000 + 625_000},
		"haiku 5.5, the longest short prompt": {"claude-haiku-5-5", message.Usage{InputTokens: 50_000, CacheReadInputTokens: 30_000, CacheCreationInputTokens: 20_000, OutputTokens: 1000}, 5000 + 300 + 2500 + 500},
		"haiku 5.5, one token more":           {"claude-haiku-5-5", message.Usage{InputTokens: 50_001, CacheReadInputTokens: 30_000, CacheCreationInputTokens: 20_000, OutputTokens: 1000}, 25_001 + 1500 + 12_500 + 2500}, // 25,000.5 rounded up
		"a long answer is no long prompt":     {"claude-haiku-5-5", message.Usage{OutputTokens: 120_000}, 60_000},
		"haiku 4.5 by its dated id":           {"claude-haiku-4-5-20251001", message.Usage{InputTokens: 1000, OutputTokens: 100}, 1000 + 500},
		"haiku 4.5 without the date":          {"claude-haiku-4-5", message.Usage{InputTokens: 1000, OutputTokens: 100}, 1500},
		"sonnet 4 under its other name":       {"claude-sonnet-4-0", message.Usage{InputTokens: 1000}, 3000},
		"opus 4.1":                            {"claude-opus-4-1-20250805", message.Usage{OutputTokens: 1000}, 75_000},
		"a later date of a known model":       {"claude-opus-5-5-20270101", message.Usage{InputTokens: 1000}, 4000},
		"the suffix of the CLI":               {"claude-sonnet-5-5[1m]", message.Usage{InputTokens: 1000}, 2000},
		"no tokens":                           {"claude-opus-5-5", message.Usage{}, 0},
		"half a millionth is rounded up":      {"claude-haiku-5-5", message.Usage{InputTokens: 5}, 1},
		"less than half is rounded down":      {"claude-haiku-5-5", message.Usage{InputTokens: 4}, 0},
		"rounded once, not each part":         {"claude-haiku-5-5", message.Usage{InputTokens: 4, CacheReadInputTokens: 10}, 1},
		"negative counts are none":            {"claude-opus-5-5", message.Usage{InputTokens: -5, OutputTokens: 1}, 20},
		"an absurd count doesn't wrap around": {"claude-opus-5-5", message.Usage{InputTokens: math.MaxInt64, OutputTokens: math.MaxInt64}, math.MaxInt64},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := c.Cost(test.model, test.usage)
			if !ok || got != test.want {
				t.Errorf("Cost = %d, %v; want %d", got, ok, test.want)
			}
		})
	}
}

func TestUnknownModelHasNoCost(t *testing.T) {
	c := embedded(t)
	for _, model := range []string{
		"", "haiku", "gpt-5", "claude", "claude-opus", "claude-opus-5-9", "claude-opus-5-5-preview", "claude-opus-5-52026010",
		"claude-opus-5-5-2026010x", "-20260101", "Claude-Opus-5-5", "[1m]",
	} {
		if cost, ok := c.Cost(model, message.Usage{InputTokens: 1}); ok || cost != 0 {
			t.Errorf("%q costs %d, %v", model, cost, ok)
		}
		if m, ok := c.Find(model); ok {
			t.Errorf("%q is %s", model, m.ID)
		}
	}
}

func TestCostIsExact(t *testing.T) {
	c := embedded(t)
	models := c.Models()
	tokens := rapid.Int64Range(0, 1e12)
	rapid.Check(t, func(r *rapid.T) {
		m := rapid.SampledFrom(models).Draw(r, "model")
		u := message.Usage{
			InputTokens: tokens.Draw(r, "input"), OutputTokens: tokens.Draw(r, "output"),
			CacheReadInputTokens: tokens.Draw(r, "read"), CacheCreationInputTokens: tokens.Draw(r, "write"),
		}
		p := m.Prices
		if m.LongPrompt != nil && u.InputTokens+u.CacheReadInputTokens+u.CacheCreationInputTokens > m.LongPrompt.AboveTokens {
			p = m.LongPrompt.Prices
		}
		sum := big.NewInt(500_000)
		for _, part := range [][2]int64{
			{u.InputTokens, p.Input}, {u.OutputTokens, p.Output}, {u.CacheReadInputTokens, p.CacheRead}, {u.CacheCreationInputTokens, p.CacheWrite5m},
		} {
			sum.Add(sum, new(big.Int).Mul(big.NewInt(part[0]), big.NewInt(part[1])))
		}
		want := sum.Div(sum, big.NewInt(1_000_000))
		if got, ok := c.Cost(m.ID, u); !ok || !want.IsInt64() || got != want.Int64() {
			r.Errorf("%s: %+v costs %d, %v; want %v", m.ID, u, got, ok, want)
		}
	})
}

func TestAliases(t *testing.T) {
	c := embedded(t)
	for alias, want := range map[string]string{"haiku": "claude-haiku-5-5", "sonnet": "claude-sonnet-5-5", "opus": "claude-opus-5-5"} {
		if id, ok := c.Resolve(alias); !ok || id != want {
			t.Errorf("%s is %q, %v; want %s", alias, id, ok, want)
		}
	}
	for _, name := range []string{"", "auto", "Haiku", "claude-haiku-5-5"} {
		if id, ok := c.Resolve(name); ok || id != "" {
			t.Errorf("%q is the alias of %q", name, id)
		}
	}
	if got := c.Aliases(); !slices.Equal(got, []string{"haiku", "opus", "sonnet"}) {
		t.Errorf("Aliases = %v", got)
	}
}

func TestEmbeddedModels(t *testing.T) {
	c := embedded(t)
	models := c.Models()
	if len(models) < 20 || models[0].ID != "claude-opus-5-5" {
		t.Fatalf("%d models, the first is %s", len(models), models[0].ID)
	}
	for _, m := range models {
		// Claude Code shows ids that begin so.
		if !strings.HasPrefix(m.ID, "claude-") || !strings.HasPrefix(m.DisplayName, "Claude ") {
			t.Errorf("model %s, %q", m.ID, m.DisplayName)
		}
		if m.Rules.MaxOutputTokens > m.ContextWindow {
			t.Errorf("%s writes %d tokens into a window of %d", m.ID, m.Rules.MaxOutputTokens, m.ContextWindow)
		}
		// In Anthropic's prices output costs five times the input, and writing to
		// the cache a quarter more: a slip in the data shows.
		if p := m.Prices; p.Output != 5*p.Input || 4*p.CacheWrite5m != 5*p.Input || p.CacheRead >= p.Input {
			t.Errorf("%s has the prices %+v", m.ID, p)
		}
	}
	haiku, ok := c.Find("claude-haiku-4-5")
	if !ok || haiku.ID != "claude-haiku-4-5-20251001" || !haiku.Created.Equal(time.Date(2025, 10, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("haiku 4.5 is %+v", haiku)
	}
	if opus := models[0]; opus.Created.Unix() != 0 {
		t.Errorf("opus 5.5 was created %v; its date isn't known", opus.Created)
	}
	models[0].ID = "changed"
	if c.Models()[0].ID == "changed" {
		t.Error("the catalogue can be changed from outside")
	}
}

func TestNewRefuses(t *testing.T) {
	const prices = `"prices":{"input":5,"output":25,"cache_read":1,"cache_write_5m":6}`
	const model = `{"id":"a","display_name":"A","context_window":10,"max_output_tokens":5,` + prices + `}`
	if _, err := pricing.New(pricing.Options{Data: []byte(`{"models":[` + model + `]}`)}); err != nil {
		t.Fatalf("good data: %v", err)
	}
	for name, data := range map[string]string{
		"nothing":                 ``,
		"no JSON":                 `{`,
		"an unknown field":        `{"models":[],"price":1}`,
		"a misspelt price":        `{"models":[` + strings.Replace(model, `"cache_read"`, `"cacheRead"`, 1) + `]}`,
		"a price of zero":         `{"models":[` + strings.Replace(model, `"output":25`, `"output":0`, 1) + `]}`,
		"a negative price":        `{"models":[` + strings.Replace(model, `"input":5`, `"input":-5`, 1) + `]}`,
		"no id":                   `{"models":[` + strings.Replace(model, `"id":"a"`, `"id":""`, 1) + `]}`,
		"no window":               `{"models":[` + strings.Replace(model, `"context_window":10`, `"context_window":0`, 1) + `]}`,
		"a date that is none":     `{"models":[` + strings.Replace(model, `"id":"a"`, `"id":"a","created":"May 2025"`, 1) + `]}`,
		"a name twice":            `{"models":[` + model + `,` + model + `]}`,
		"an alias without model":  `{"aliases":{"b":"b"},"models":[` + model + `]}`,
		"a long prompt for free":  `{"models":[` + strings.Replace(model, `"id":"a"`, `"id":"a","long_prompt":{"above_tokens":1,"prices":{}}`, 1) + `]}`,
		"a long prompt from zero": `{"models":[` + strings.Replace(model, `"id":"a"`, `"id":"a","long_prompt":{"above_tokens":0,`+prices+`}`, 1) + `]}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := pricing.New(pricing.Options{Data: []byte(data)}); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func FuzzNew(f *testing.F) {
	f.Add([]byte(`{"aliases":{"x":"a"},"models":[{"id":"a","display_name":"A","context_window":10,"max_output_tokens":5,"prices":{"input":5,"output":25,"cache_read":1,"cache_write_5m":6}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if data == nil {
			return // nil is the data built in
		}
		c, err := pricing.New(pricing.Options{Data: data})
		if err != nil {
			return
		}
		for _, alias := range c.Aliases() {
			id, ok := c.Resolve(alias)
			if cost, known := c.Cost(id, message.Usage{OutputTokens: 1e9}); !ok || !known || cost <= 0 {
				t.Errorf("alias %q stands for %q, which costs %d, %v", alias, id, cost, known)
			}
		}
	})
}

func BenchmarkCost(b *testing.B) {
	c := embedded(b)
	u := message.Usage{InputTokens: 1234, OutputTokens: 567, CacheReadInputTokens: 89_000}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := c.Cost("claude-haiku-4-5-20251001", u); !ok {
			b.Fatal("unknown")
		}
	}
}
