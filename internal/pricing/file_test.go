package pricing_test

import (
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/pricing"
)

const (
	figures = `"input":5,"output":25,"cache_read":1,"cache_write_5m":6,"cache_write_1h":10`
	prices  = `"prices":{` + figures + `}`
	model   = `{"id":"a","display_name":"A","context_window":10,"max_output_tokens":5,` + prices + `}`
	free    = `{"input":0,"output":0,"cache_read":0,"cache_write_5m":0,"cache_write_1h":0}`
)

func TestNewRefuses(t *testing.T) {
	if _, err := pricing.New(pricing.Options{Data: []byte(`{"models":[` + model + `]}`)}); err != nil {
		t.Fatalf("good data: %v", err)
	}
	in := func(from, to string) string { return `{"models":[` + strings.Replace(model, from, to, 1) + `]}` }
	list := func(list string) string { return in(prices, `"prices":[`+list+`]`) }
	long := func(long string) string { return in(prices, `"prices":{`+figures+`,"long_prompt":{`+long+`}}`) }
	for name, test := range map[string]struct{ data, says string }{
		"nothing":                 {``, "read prices"},
		"no JSON":                 {`{`, "read prices"},
		"an unknown field":        {`{"models":[],"price":1}`, `"price"`},
		"a field twice":           {`{"models":[],"models":[]}`, `"models"`},
		"an unknown field within": {in(`"id":"a"`, `"id":"a","price":1`), `model "a": json: `},
		"a misspelt price":        {in(`"cache_read"`, `"cacheRead"`), `"cacheRead" within "/prices"`},
		"a misspelt later price":  {list(`{` + figures + `},{"from":"2026-03-01","out":1}`), `"out" within "/prices/1"`},
		"a price that is absent":  {in(`,"cache_write_1h":10`, ``), `model "a": prices.cache_write_1h: must be given`},
		"a price of null":         {in(`"output":25`, `"output":null`), `model "a": prices.output: must be given`},
		"a price of zero":         {in(`"output":25`, `"output":0`), `model "a": prices.output: must be more than 0`},
		"a negative price":        {in(`"input":5`, `"input":-5`), `model "a": prices.input: must be from 0`},
		"an absurd price":         {in(`"input":5`, `"input":1000000001`), `model "a": prices.input: must be from 0 to 1000000000`},
		"no price":                {in(`,`+prices, ``), `model "a": prices: must be given`},
		"prices of null":          {in(prices, `"prices":null`), `model "a": prices.input: must be given`},
		"no prices":               {list(``), `model "a": prices: must be given`},
		"a date that is none":     {list(`{"from":"March",` + figures + `}`), `model "a": prices[0].from: "March" isn't a date`},
		"a date twice":            {list(`{"from":"2026-03-01",` + figures + `},{"from":"2026-03-01",` + figures + `}`), `prices[1].from: must be later`},
		"no second date":          {list(`{` + figures + `},{` + figures + `}`), `prices[1].from: must be later`},
		"a later price in error":  {list(`{` + figures + `},{"from":"2026-03-01"}`), `prices[1].input: must be given`},
		"a long prompt for free":  {long(`"above_tokens":1`), `model "a": prices.long_prompt.input: must be given`},
		"a long prompt from zero": {long(figures), `model "a": prices.long_prompt.above_tokens`},
		"no id":                   {in(`"id":"a"`, `"id":""`), `models[0]: id`},
		"an id of another type":   {in(`"id":"a"`, `"id":7`), `models[0]: json`},
		"no name for people":      {in(`"display_name":"A",`, ``), `model "a": display_name`},
		"no window":               {in(`"context_window":10`, `"context_window":0`), `model "a": context_window`},
		"no longest answer":       {in(`"max_output_tokens":5,`, ``), `model "a": max_output_tokens`},
		"a release that is none":  {in(`"id":"a"`, `"id":"a","created":"May 2025"`), `model "a": created`},
		"an id twice":             {`{"models":[` + model + `,` + model + `]}`, `model "a": id: is given twice`},
		"a name twice":            {in(`"id":"a"`, `"id":"a","names":["b","b"]`), `model "a": names: "b"`},
		"an empty name":           {in(`"id":"a"`, `"id":"a","names":[""]`), `model "a": names`},
		"an alias without model":  {`{"aliases":{"b":"c"},"models":[` + model + `]}`, `aliases.b: stands for the unknown model "c"`},
		"an alias that is a name": {`{"aliases":{"a":"a"},"models":[` + model + `]}`, `aliases.a`},
		"a negative search":       {`{"web_search_request":-1}`, `web_search_request`},
		"an absurd search":        {`{"web_search_request":1000001}`, `web_search_request`},
		"an unknown percentage":   {`{"percent":{"size":{"big":100}}}`, `percent.size`},
		"a negative percentage":   {`{"percent":{"speed":{"fast":-1}}}`, `percent.speed.fast`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pricing.New(pricing.Options{Data: []byte(test.data)})
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestOverride(t *testing.T) {
	c, err := pricing.New(pricing.Options{Override: []byte(`{
		"source": "the contract of May",
		"aliases": {"opus": "claude-opus-5", "ours": "claude-of-ours"},
		"web_search_request": 7,
		"percent": {"service_tier": {"priority": 100}, "inference_geo": {"us": 120}},
		"models": [
			{"id": "claude-opus-5-5", "prices": [{` + figures + `}, {"from": "2027-01-01", ` + strings.Replace(figures, "5", "9", 1) + `}]},
			{"id": "claude-haiku-5-5", "prices": ` + free + `},
			{"id": "claude-sonnet-5-5", "names": ["claude-sonnet-next"], "context_window": 7, "rules": {"thinking": []}},
			{"id": "claude-of-ours", "display_name": "Ours", "context_window": 10, "max_output_tokens": 5, "created": "2026-05-04", ` + prices + `}
		]}`)})
	if err != nil {
		t.Fatal(err)
	}
	input := message.Usage{InputTokens: 1e6}
	for _, test := range []struct {
		model string
		at    time.Time
		usage message.Usage
		want  int64
	}{
		{"claude-opus-5-5", someday, input, 5},
		{"claude-opus-5-5", time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), input, 9},
		{"claude-haiku-5-5", someday, input, 0},
		{"claude-of-ours", someday, input, 5},
		{"claude-opus-5", someday, input, 5_000_000}, // as built in
		{"claude-sonnet-next", someday, input, 2_000_000},
		{"claude-opus-5", someday, message.Usage{InputTokens: 1e6, ServiceTier: "priority"}, 5_000_000},
		{"claude-opus-5", someday, message.Usage{InputTokens: 1e6, ServiceTier: "batch", InferenceGeo: "us"}, 3_000_000},
		{"claude-opus-5", someday, message.Usage{ServerToolUse: message.ServerToolUse{WebSearchRequests: 2}}, 14},
	} {
		if got, ok := c.Cost(test.model, test.at, test.usage); !ok || got != test.want {
			t.Errorf("%s, %v, %+v costs %d, %v", test.model, test.at, test.usage, got, ok)
		}
	}
	for alias, want := range map[string]string{"opus": "claude-opus-5", "ours": "claude-of-ours", "haiku": "claude-haiku-5-5"} {
		if id, ok := c.Resolve(alias); id != want || !ok {
			t.Errorf("%s is %q", alias, id)
		}
	}
	base, models := embedded(t).Models(), c.Models()
	ours := models[len(models)-1]
	if len(models) != len(base)+1 || ours.ID != "claude-of-ours" || !ours.Created.Equal(time.Date(2026, 5, 4, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%d models, the last is %+v", len(models), ours)
	}
	// What the file doesn't say stays, and what it says of the rules replaces all of
	// them but the longest answer, which isn't one.
	sonnet, _ := c.Find("claude-sonnet-5-5")
	if sonnet.ContextWindow != 7 || sonnet.DisplayName != "Claude Sonnet 5.5" || sonnet.Rules.MaxOutputTokens != 128_000 ||
		sonnet.Rules.NoSampling || len(sonnet.Rules.Thinking) > 0 {
		t.Errorf("sonnet is %+v", sonnet)
	}
	opus, _ := c.Find("claude-opus-5-5")
	if !opus.Rules.NoSampling || opus.ContextWindow != 1_000_000 {
		t.Errorf("opus is %+v", opus)
	}
}

func TestOverrideRefuses(t *testing.T) {
	for name, test := range map[string]struct{ data, says string }{
		"nothing":                  {``, "read prices"},
		"an unknown field":         {`{"models":[{"id":"claude-opus-5-5","price":0}]}`, `model "claude-opus-5-5"`},
		"free by omission":         {`{"models":[{"id":"claude-opus-5-5","prices":{"input":0}}]}`, `model "claude-opus-5-5": prices.output: must be given`},
		"a negative price":         {`{"models":[{"id":"claude-opus-5-5","prices":` + strings.Replace(free, "0", "-1", 1) + `}]}`, `prices.input: must be from 0`},
		"a new model without all":  {`{"models":[{"id":"claude-new","prices":` + free + `}]}`, `model "claude-new": display_name`},
		"a model twice":            {`{"models":[{"id":"claude-opus-5"},{"id":"claude-opus-5"}]}`, `model "claude-opus-5": id: is given twice`},
		"another model's name":     {`{"models":[{"id":"claude-opus-5","names":["claude-opus-4-8"]}]}`, `"claude-opus-4-8" is a name of`},
		"an id that is a name":     {`{"models":[{"id":"claude-haiku-4-5","display_name":"H","context_window":1,"max_output_tokens":1,"prices":` + free + `}]}`, `"claude-haiku-4-5" is a name of`},
		"an alias without a model": {`{"aliases":{"opus":"claude-opus-9"}}`, `aliases.opus`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pricing.New(pricing.Options{Override: []byte(test.data)})
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v", err)
			}
		})
	}
}

// FuzzNew decodes a file, as the data and as an override, and prices with it.
func FuzzNew(f *testing.F) {
	f.Add([]byte(`{"aliases":{"x":"a"},"models":[` + model + `]}`))
	f.Add([]byte(`{` + percents + `,"web_search_request":3,"models":[` + dated + `]}`))
	f.Add([]byte(`{"models":[{"id":"claude-opus-5-5","names":["x"],"prices":` + free + `}]}`))
	u := message.Usage{
		InputTokens: 1e9, OutputTokens: 1e9, CacheReadInputTokens: 1e9, CacheCreationInputTokens: 2e9,
		CacheCreation: message.CacheCreation{Ephemeral5mInputTokens: 1e9, Ephemeral1hInputTokens: 1e9},
		ServerToolUse: message.ServerToolUse{WebSearchRequests: 1e9},
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if data == nil {
			return // nil is the data built in
		}
		for _, options := range []pricing.Options{{Data: data}, {Override: data}} {
			c, err := pricing.New(options)
			if err != nil {
				continue
			}
			for _, m := range c.Models() {
				first := m.Prices[0].From
				cost, known := c.Cost(m.ID, first, u)
				input, output, bounded := c.Dearest(m.ID, first, 1<<40, true)
				if !known || cost < 0 || options.Override == nil && cost == 0 {
					t.Errorf("%q costs %d, %v", m.ID, cost, known)
				}
				if most, ok := c.Cost(m.ID, first, message.Usage{InputTokens: 1e6, OutputTokens: 1e6}); !bounded || !ok || most > input+output {
					t.Errorf("%q costs %d, which is more than %d and %d", m.ID, most, input, output)
				}
			}
			for _, alias := range c.Aliases() {
				if id, ok := c.Resolve(alias); !ok || !c.Priced(id, someday) && !c.Priced(id, time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)) {
					t.Errorf("alias %q stands for %q, which has no price", alias, id)
				}
			}
		}
	})
}
