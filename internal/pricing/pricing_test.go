package pricing_test

import (
	"slices"
	"strings"
	"testing"
	"time"

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
		// In Anthropic's prices output costs five times the input, writing to the
		// cache a quarter more and for an hour twice: a slip in the data shows.
		for _, tariff := range m.Prices {
			if p := tariff.Prices; p.Output != 5*p.Input || 4*p.CacheWrite5m != 5*p.Input || p.CacheWrite1h != 2*p.Input || p.CacheRead >= p.Input {
				t.Errorf("%s has the prices %+v", m.ID, p)
			}
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
