package pricing_test

import (
	"fmt"
	"math"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/pricing"
)

var someday = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

func TestCost(t *testing.T) {
	c := embedded(t)
	million := message.Usage{InputTokens: 1e6, OutputTokens: 1e6, CacheReadInputTokens: 1e6, CacheCreationInputTokens: 1e6}
	written := message.Usage{CacheCreationInputTokens: 1000, CacheCreation: message.CacheCreation{Ephemeral5mInputTokens: 400, Ephemeral1hInputTokens: 600}}
	words := func(tier, geo, speed string) message.Usage {
		return message.Usage{InputTokens: 1000, ServiceTier: tier, InferenceGeo: geo, Speed: speed}
	}
	searched := message.ServerToolUse{WebSearchRequests: 3, WebFetchRequests: 7}
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
		"written for an hour, and not":        {"claude-opus-5-5", written, 400*5 + 600*8},
		"searches":                            {"claude-opus-5-5", message.Usage{OutputTokens: 1, ServerToolUse: searched}, 20 + 30_000},
		"a batch":                             {"claude-opus-5-5", words("batch", "", ""), 2000},
		"in the US":                           {"claude-opus-5-5", words("standard", "us", "standard"), 4400},
		"a batch in the US":                   {"claude-opus-5-5", words("batch", "us", ""), 2200},
		"anywhere":                            {"claude-opus-5-5", words("", "global", ""), 4000},
		"searches cost the same in the US":    {"claude-opus-5-5", message.Usage{InferenceGeo: "us", ServerToolUse: searched}, 30_000},
		"no tokens":                           {"claude-opus-5-5", message.Usage{}, 0},
		"half a millionth is rounded up":      {"claude-haiku-5-5", message.Usage{InputTokens: 5}, 1},
		"less than half is rounded down":      {"claude-haiku-5-5", message.Usage{InputTokens: 4}, 0},
		"rounded once, not each part":         {"claude-haiku-5-5", message.Usage{InputTokens: 4, CacheReadInputTokens: 10}, 1},
		"negative counts are none":            {"claude-opus-5-5", message.Usage{InputTokens: -5, OutputTokens: 1, ServerToolUse: message.ServerToolUse{WebSearchRequests: -1}}, 20},
		"an absurd count doesn't wrap around": {"claude-opus-5-5", message.Usage{InputTokens: math.MaxInt64, OutputTokens: math.MaxInt64}, math.MaxInt64},
		"nor do absurd searches":              {"claude-opus-5-5", message.Usage{ServerToolUse: message.ServerToolUse{WebSearchRequests: math.MaxInt64}}, math.MaxInt64},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := c.Cost(test.model, someday, test.usage)
			if !ok || got != test.want {
				t.Errorf("Cost = %d, %v; want %d", got, ok, test.want)
			}
		})
	}
}

func TestWhatHasNoPriceHasNoCost(t *testing.T) {
	c := embedded(t)
	for _, model := range []string{
		"", "haiku", "gpt-5", "claude", "claude-opus", "claude-opus-5-9", "claude-opus-5-5-preview", "claude-opus-5-52026010",
		"claude-opus-5-5-2026010x", "-20260101", "Claude-Opus-5-5", "[1m]",
	} {
		if cost, ok := c.Cost(model, someday, message.Usage{InputTokens: 1}); ok || cost != 0 || c.Priced(model, someday) {
			t.Errorf("%q costs %d, %v", model, cost, ok)
		}
		if m, ok := c.Find(model); ok {
			t.Errorf("%q is %s", model, m.ID)
		}
	}
	for name, u := range map[string]message.Usage{
		"priority":          {ServiceTier: "priority"},
		"an unknown place":  {InferenceGeo: "moon"},
		"fast":              {Speed: "fast"},
		"counted apart":     {Apart: true},
		"an unknown splits": {CacheCreationInputTokens: 3, CacheCreation: message.CacheCreation{Ephemeral5mInputTokens: 1, Ephemeral1hInputTokens: 1}},
	} {
		u.OutputTokens = 1
		if cost, ok := c.Cost("claude-opus-5-5", someday, u); ok || cost != 0 {
			t.Errorf("%s costs %d, %v", name, cost, ok)
		}
	}
}

const (
	dated = `{"id":"d","display_name":"D","context_window":10,"max_output_tokens":5,"prices":[` +
		`{"from":"2026-01-01","input":100,"output":1,"cache_read":1,"cache_write_5m":1,"cache_write_1h":300},` +
		`{"from":"2026-03-01","input":200,"output":2,"cache_read":1,"cache_write_5m":1,"cache_write_1h":1,` +
		`"long_prompt":{"above_tokens":2000000,"input":400,"output":9,"cache_read":1,"cache_write_5m":1,"cache_write_1h":1}},` +
		`{"from":"2026-03-02","input":50,"output":3,"cache_read":1,"cache_write_5m":1,"cache_write_1h":1}]}`
	percents = `"percent":{"inference_geo":{"us":110},"speed":{"slow":1}}`
)

// TestPricesHoldFromTheirDate: a date is its midnight in UTC, wherever the
// request's clock is read.
func TestPricesHoldFromTheirDate(t *testing.T) {
	c, err := pricing.New(pricing.Options{Data: []byte(`{` + percents + `,"models":[` + dated + `]}`)})
	if err != nil {
		t.Fatal(err)
	}
	tokyo, hawaii := time.FixedZone("UTC+9", 9*3600), time.FixedZone("UTC-10", -10*3600)
	for _, test := range []struct {
		at     time.Time
		tokens int64
		want   int64 // -1: not known
	}{
		{time.Date(2025, 12, 31, 23, 59, 59, 999, time.UTC), 1e6, -1},
		{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), 1e6, 100},
		{time.Date(2026, 2, 28, 23, 59, 59, 999_999_999, time.UTC), 1e6, 100},
		{time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), 1e6, 200},
		{time.Date(2026, 3, 1, 8, 59, 0, 0, tokyo), 1e6, 100},
		{time.Date(2026, 3, 1, 9, 0, 0, 0, tokyo), 1e6, 200},
		{time.Date(2026, 2, 28, 14, 0, 0, 0, hawaii), 1e6, 200},
		{time.Date(2026, 2, 28, 23, 0, 0, 0, time.UTC), 3e6, 300}, // no long prompts yet
		{time.Date(2026, 3, 1, 23, 0, 0, 0, time.UTC), 3e6, 1200},
		{time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC), 3e6, 150},
		{time.Date(2036, 3, 2, 0, 0, 0, 0, time.UTC), 1e6, 50},
	} {
		t.Run(fmt.Sprint(test.at.Format(time.RFC3339Nano), " ", test.tokens), func(t *testing.T) {
			known := test.want >= 0
			got, ok := c.Cost("d", test.at, message.Usage{InputTokens: test.tokens})
			if ok != known || got != max(test.want, 0) || c.Priced("d", test.at) != known {
				t.Errorf("Cost = %d, %v", got, ok)
			}
		})
	}
}

// TestDearest: nothing that arrives now or later, or arrived a moment ago, costs
// more; here a tenth is added for the US.
func TestDearest(t *testing.T) {
	c, err := pricing.New(pricing.Options{Data: []byte(`{` + percents + `,"models":[` + dated + `]}`)})
	if err != nil {
		t.Fatal(err)
	}
	const long = 1 << 40
	for _, test := range []struct {
		at            time.Time
		input, output int64
		ok            bool
	}{
		{time.Date(2025, 12, 31, 0, 0, 0, 0, time.UTC), 0, 0, false},
		{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), 440, 10, true}, // 9.9 rounded up
		{time.Date(2026, 3, 2, 0, 1, 0, 0, time.UTC), 440, 10, true}, // it may have arrived yesterday
		{time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC), 55, 4, true},
	} {
		input, output, ok := c.Dearest("d", test.at, long, true)
		if input != test.input || output != test.output || ok != test.ok {
			t.Errorf("%v: %d, %d, %v", test.at, input, output, ok)
		}
	}
	if _, _, ok := c.Dearest("e", someday, long, true); ok {
		t.Error("an unknown model has a price")
	}
	// Opus written to the cache for an hour in the US.
	if input, output, ok := embedded(t).Dearest("claude-opus-5-5", someday, long, true); input != 8_800_000 || output != 22_000_000 || !ok {
		t.Errorf("opus: %d, %d, %v", input, output, ok)
	}
	// Haiku's long prompts cost five times as much.
	for _, test := range []struct {
		prompt        int64
		hour          bool
		input, output int64
	}{{100_000, false, 137_500, 550_000}, {100_000, true, 220_000, 550_000}, {100_001, false, 687_500, 2_750_000}, {100_001, true, 1_100_000, 2_750_000}} {
		input, output, ok := embedded(t).Dearest("claude-haiku-5-5", someday, test.prompt, test.hour)
		if input != test.input || output != test.output || !ok {
			t.Errorf("haiku, a prompt of %d, for an hour %t: %d, %d, %v", test.prompt, test.hour, input, output, ok)
		}
	}
}

func TestCostIsExact(t *testing.T) {
	c := embedded(t)
	models := c.Models()
	tokens := rapid.Int64Range(0, 1e12)
	rapid.Check(t, func(r *rapid.T) {
		m := rapid.SampledFrom(models).Draw(r, "model")
		tariff := m.Prices[len(m.Prices)-1]
		written := message.CacheCreation{Ephemeral5mInputTokens: tokens.Draw(r, "write 5m"), Ephemeral1hInputTokens: tokens.Draw(r, "write 1h")}
		u := message.Usage{
			InputTokens: tokens.Draw(r, "input"), OutputTokens: tokens.Draw(r, "output"), CacheReadInputTokens: tokens.Draw(r, "read"),
			CacheCreationInputTokens: written.Ephemeral5mInputTokens + written.Ephemeral1hInputTokens, CacheCreation: written,
			ServerToolUse: message.ServerToolUse{WebSearchRequests: tokens.Draw(r, "searches")},
		}
		percent := int64(100)
		if rapid.Bool().Draw(r, "batch") {
			u.ServiceTier, percent = "batch", percent/2
		}
		if rapid.Bool().Draw(r, "in the US") {
			u.InferenceGeo, percent = "us", percent*11/10
		}
		p := tariff.Prices
		if tariff.LongPrompt != nil && u.InputTokens+u.CacheReadInputTokens+u.CacheCreationInputTokens > tariff.LongPrompt.AboveTokens {
			p = tariff.LongPrompt.Prices
		}
		sum := new(big.Int)
		for _, part := range [][2]int64{
			{u.InputTokens, p.Input}, {u.OutputTokens, p.Output}, {u.CacheReadInputTokens, p.CacheRead},
			{written.Ephemeral5mInputTokens, p.CacheWrite5m}, {written.Ephemeral1hInputTokens, p.CacheWrite1h},
		} {
			sum.Add(sum, new(big.Int).Mul(big.NewInt(part[0]), big.NewInt(part[1]*percent)))
		}
		sum.Add(sum, new(big.Int).Mul(big.NewInt(u.ServerToolUse.WebSearchRequests), big.NewInt(10_000*100_000_000)))
		sum.Add(sum, big.NewInt(50_000_000))
		want := sum.Div(sum, big.NewInt(100_000_000))
		if got, ok := c.Cost(m.ID, someday, u); !ok || !want.IsInt64() || got != want.Int64() {
			r.Errorf("%s: %+v costs %d, %v; want %v", m.ID, u, got, ok, want)
		}
	})
}

func BenchmarkCost(b *testing.B) {
	c := embedded(b)
	u := message.Usage{InputTokens: 1234, OutputTokens: 567, CacheReadInputTokens: 89_000, ServiceTier: "standard", InferenceGeo: "global"}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := c.Cost("claude-haiku-4-5-20251001", someday, u); !ok {
			b.Fatal("unknown")
		}
	}
}
