// Package pricing knows the models: their names, limits, rules and prices. All
// of it is data, in prices.json, which says where it is from.
package pricing

import (
	_ "embed"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/message"
)

//go:embed prices.json
var embedded []byte

// Prices are in millionths of a US dollar for a million tokens: 5,000,000 is
// 5 USD for a million tokens.
type Prices struct {
	Input        int64 `json:"input"`
	Output       int64 `json:"output"`
	CacheRead    int64 `json:"cache_read"`
	CacheWrite5m int64 `json:"cache_write_5m"` // writing a cache entry that lives five minutes
}

// LongPrompt is what a request costs whose prompt is long.
type LongPrompt struct {
	// AboveTokens is the longest prompt, cached parts included, to which the
	// ordinary prices apply.
	AboveTokens int64 `json:"above_tokens"`
	// Prices apply to the whole request, not only to what is above.
	Prices Prices `json:"prices"`
}

// Model is what is known of a model.
type Model struct {
	ID            string        // as the Messages API lists it
	Names         []string      // other names under which it is asked for
	DisplayName   string        // for people
	Created       time.Time     // its release, in UTC; 1970-01-01 when not known, as in the Models API
	ContextWindow int           // tokens
	Rules         message.Rules // what it takes of a request
	Prices        Prices        // of an ordinary request
	LongPrompt    *LongPrompt   // nil: the length of the prompt doesn't matter
}

// Catalogue is the known models. It never changes and is safe for concurrent
// use.
type Catalogue struct {
	models  []Model
	byName  map[string]*Model // ids and other names
	aliases map[string]string
}

// Options say which data a Catalogue holds.
type Options struct {
	// Data is a file in the form of prices.json; nil is the one built in.
	Data []byte
}

// file is the form of prices.json.
type file struct {
	Source  string            `json:"source"` // where the figures are from
	Unit    string            `json:"unit"`   // in words, for the reader
	Aliases map[string]string `json:"aliases"`
	Models  []struct {
		ID              string        `json:"id"`
		Names           []string      `json:"names"`
		Rules           message.Rules `json:"rules"`
		DisplayName     string        `json:"display_name"`
		Created         string        `json:"created"` // YYYY-MM-DD, or absent
		ContextWindow   int           `json:"context_window"`
		MaxOutputTokens int           `json:"max_output_tokens"`
		Prices          Prices        `json:"prices"`
		LongPrompt      *LongPrompt   `json:"long_prompt"`
	} `json:"models"`
}

// New reads a catalogue. Unknown fields, missing figures, names given twice and
// aliases without a model are errors.
func New(options Options) (*Catalogue, error) {
	if options.Data == nil {
		options.Data = embedded
	}
	var f file
	if err := json.Unmarshal(options.Data, &f, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("read prices: %w", err)
	}
	c := &Catalogue{byName: map[string]*Model{}, aliases: f.Aliases, models: make([]Model, len(f.Models))}
	for i, m := range f.Models {
		created := time.Unix(0, 0).UTC()
		if m.Created != "" {
			var err error
			if created, err = time.Parse(time.DateOnly, m.Created); err != nil {
				return nil, fmt.Errorf("prices of %q: %w", m.ID, err)
			}
		}
		m.Rules.MaxOutputTokens = m.MaxOutputTokens
		c.models[i] = Model{
			ID: m.ID, Names: m.Names, DisplayName: m.DisplayName, Created: created, ContextWindow: m.ContextWindow,
			Rules: m.Rules, Prices: m.Prices, LongPrompt: m.LongPrompt,
		}
		if err := c.add(&c.models[i]); err != nil {
			return nil, fmt.Errorf("prices of %q: %w", m.ID, err)
		}
	}
	for alias, id := range f.Aliases {
		if c.byName[id] == nil {
			return nil, fmt.Errorf("alias %q stands for the unknown model %q", alias, id)
		}
	}
	return c, nil
}

func (c *Catalogue) add(m *Model) error {
	if m.ID == "" || m.DisplayName == "" {
		return errors.New("id and display_name are required")
	}
	if m.ContextWindow <= 0 || m.Rules.MaxOutputTokens <= 0 {
		return errors.New("context_window and max_output_tokens must be positive")
	}
	if !m.Prices.known() || m.LongPrompt != nil && (!m.LongPrompt.Prices.known() || m.LongPrompt.AboveTokens <= 0) {
		return errors.New("every price must be positive")
	}
	for _, name := range append([]string{m.ID}, m.Names...) {
		if c.byName[name] != nil {
			return fmt.Errorf("the name %q is given twice", name)
		}
		c.byName[name] = m
	}
	return nil
}

func (p Prices) known() bool {
	return p.Input > 0 && p.Output > 0 && p.CacheRead > 0 && p.CacheWrite5m > 0
}

// Models gives every model, in the order of the data: the current ones first.
func (c *Catalogue) Models() []Model { return slices.Clone(c.models) }

// Aliases gives the short names, sorted.
func (c *Catalogue) Aliases() []string {
	names := make([]string, 0, len(c.aliases))
	for name := range c.aliases {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Resolve gives the id that a short name (haiku, sonnet, opus) stands for.
// Anything else, full ids too, is not an alias: "", false.
func (c *Catalogue) Resolve(alias string) (id string, ok bool) {
	id, ok = c.aliases[alias]
	return id, ok
}

// Find gives the model of an id or another of its names. A dated id
// (claude-haiku-4-5-20251001) also matches the name without its date, and the
// CLI's suffix [1m] is left out. Nothing else is guessed: claude-opus-5-9 is
// not claude-opus-5.
func (c *Catalogue) Find(name string) (Model, bool) {
	m := c.find(name)
	if m == nil {
		return Model{}, false
	}
	return *m, true
}

// Rules give what a model, by its id, another of its names or an alias, takes of
// a request. Those of a model that isn't known refuse nothing.
func (c *Catalogue) Rules(name string) message.Rules {
	if id, ok := c.aliases[name]; ok {
		name = id
	}
	if m := c.find(name); m != nil {
		return m.Rules
	}
	return message.Rules{}
}

func (c *Catalogue) find(name string) *Model {
	name = strings.TrimSuffix(name, "[1m]")
	if m := c.byName[name]; m != nil {
		return m
	}
	return c.byName[withoutDate(name)]
}

// withoutDate takes off a hyphen and a date of this century; other names stay.
func withoutDate(name string) string {
	cut := len(name) - len("-20251001")
	if cut <= 0 || !strings.HasPrefix(name[cut:], "-20") || strings.Trim(name[cut+1:], "0123456789") != "" {
		return name
	}
	return name[:cut]
}

// Cost gives what an answer of a model costs at list price, in millionths of a
// US dollar, rounded to the nearest, halves up. An unknown model's cost is not
// known: 0, false. Every written cache entry is priced as one that lives five
// minutes; searches, fast mode and regional surcharges aren't part of Usage and
// aren't counted. A cost beyond int64 is given as the largest int64.
func (c *Catalogue) Cost(model string, u message.Usage) (microUSD int64, ok bool) {
	m := c.find(model)
	if m == nil {
		return 0, false
	}
	p := m.Prices
	if m.LongPrompt != nil && u.Prompt() > m.LongPrompt.AboveTokens {
		p = m.LongPrompt.Prices
	}
	// 128 bits, because the tokens are what somebody else says they are.
	var high, low uint64
	add := func(tokens, price int64) {
		h, l := bits.Mul64(uint64(max(tokens, 0)), uint64(price))
		var carry uint64
		low, carry = bits.Add64(low, l, 0)
		high, _ = bits.Add64(high, h, carry)
	}
	add(u.InputTokens, p.Input)
	add(u.OutputTokens, p.Output)
	add(u.CacheReadInputTokens, p.CacheRead)
	add(u.CacheCreationInputTokens, p.CacheWrite5m)
	const million = 1_000_000
	add(1, million/2) // so that the division rounds
	if high >= million {
		return math.MaxInt64, true
	}
	quotient, _ := bits.Div64(high, low, million)
	return int64(min(quotient, math.MaxInt64)), true
}
