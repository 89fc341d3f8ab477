package pricing

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
)

// file is the form of prices.json.
type file struct {
	Source           string                      `json:"source"` // where the figures are from
	Unit             string                      `json:"unit"`   // in words, for the reader
	Aliases          map[string]string           `json:"aliases"`
	WebSearchRequest *int64                      `json:"web_search_request"`
	Percent          map[string]map[string]int64 `json:"percent"` // by the usage's member and its word
	Models           []jsontext.Value            `json:"models"`
}

// fileModel is one model. A member that is absent stays as it was.
type fileModel struct {
	ID              string         `json:"id"`
	Names           []string       `json:"names"`
	Rules           *message.Rules `json:"rules"`
	DisplayName     string         `json:"display_name"`
	Created         string         `json:"created"` // YYYY-MM-DD, or absent
	ContextWindow   *int           `json:"context_window"`
	MaxOutputTokens *int           `json:"max_output_tokens"`
	Prices          filePrices     `json:"prices"`
}

// filePrices are one tariff, or a list of them by date.
type filePrices struct {
	given, list bool
	tariffs     []fileTariff
}

type fileTariff struct {
	From string `json:"from"` // YYYY-MM-DD; only the first may have none
	fileFigures
	LongPrompt *fileLongPrompt `json:"long_prompt"`
}

type fileLongPrompt struct {
	AboveTokens int64 `json:"above_tokens"`
	fileFigures
}

// fileFigures tell a price that is absent from one of zero.
type fileFigures struct {
	Input        *int64 `json:"input"`
	Output       *int64 `json:"output"`
	CacheRead    *int64 `json:"cache_read"`
	CacheWrite5m *int64 `json:"cache_write_5m"`
	CacheWrite1h *int64 `json:"cache_write_1h"`
}

// UnmarshalJSONFrom takes one object or a list of them.
func (p *filePrices) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	p.given = true
	if dec.PeekKind() == '[' {
		p.list = true
		return json.UnmarshalDecode(dec, &p.tariffs)
	}
	p.tariffs = make([]fileTariff, 1)
	return json.UnmarshalDecode(dec, &p.tariffs[0])
}

func decode(data []byte, into any) error {
	return json.Unmarshal(data, into, json.RejectUnknownMembers(true))
}

// merge takes over what a file says. free says that prices may be 0.
func (c *Catalogue) merge(data []byte, free bool) error {
	var f file
	if err := decode(data, &f); err != nil {
		return fmt.Errorf("read prices: %w", err)
	}
	seen := map[string]bool{}
	for i, raw := range f.Models {
		var named struct {
			ID string `json:"id"`
		}
		where := fmt.Sprintf("models[%d]", i)
		if json.Unmarshal(raw, &named) == nil && named.ID != "" {
			where = fmt.Sprintf("model %q", named.ID)
		}
		var m fileModel
		if err := decode(raw, &m); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		switch {
		case m.ID == "":
			return fmt.Errorf("%s: id: must be given", where)
		case seen[m.ID]:
			return fmt.Errorf("%s: id: is given twice", where)
		}
		seen[m.ID] = true
		if err := c.model(m.ID).take(&m, free); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
	}
	maps.Copy(c.aliases, f.Aliases)
	if f.WebSearchRequest != nil {
		c.surcharge.webSearch = *f.WebSearchRequest
		if c.surcharge.webSearch < 0 || c.surcharge.webSearch > maxWebSearch {
			return fmt.Errorf("web_search_request: must be from 0 to %d", maxWebSearch)
		}
	}
	return c.surcharge.take(f.Percent)
}

// model gives the model with an id, a new one where there is none.
func (c *Catalogue) model(id string) *Model {
	i := slices.IndexFunc(c.models, func(m Model) bool { return m.ID == id })
	if i < 0 {
		i = len(c.models)
		c.models = append(c.models, Model{ID: id, Created: time.Unix(0, 0).UTC()})
	}
	return &c.models[i]
}

func (m *Model) take(f *fileModel, free bool) (err error) {
	if f.Names != nil {
		m.Names = f.Names
	}
	if f.Rules != nil {
		f.Rules.MaxOutputTokens = m.Rules.MaxOutputTokens
		m.Rules = *f.Rules
	}
	if f.DisplayName != "" {
		m.DisplayName = f.DisplayName
	}
	if f.Created != "" {
		if m.Created, err = date(f.Created); err != nil {
			return fmt.Errorf("created: %w", err)
		}
	}
	if f.ContextWindow != nil {
		m.ContextWindow = *f.ContextWindow
	}
	if f.MaxOutputTokens != nil {
		m.Rules.MaxOutputTokens = *f.MaxOutputTokens
	}
	if f.Prices.given {
		if m.Prices, err = f.Prices.read(free); err != nil {
			return err
		}
	}
	switch {
	case m.DisplayName == "":
		return errors.New("display_name: must be given")
	case m.ContextWindow <= 0:
		return errors.New("context_window: must be given and more than 0")
	case m.Rules.MaxOutputTokens <= 0:
		return errors.New("max_output_tokens: must be given and more than 0")
	case len(m.Prices) == 0:
		return errors.New("prices: must be given")
	}
	return nil
}

func date(text string) (time.Time, error) {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return t, fmt.Errorf("%q isn't a date such as 2026-03-01", text)
	}
	return t, nil
}

func (p *filePrices) read(free bool) ([]Tariff, error) {
	tariffs := make([]Tariff, len(p.tariffs))
	for i := range p.tariffs {
		f, t, where := &p.tariffs[i], &tariffs[i], "prices."
		if p.list {
			where = "prices[" + strconv.Itoa(i) + "]."
		}
		var err error
		if f.From != "" {
			if t.From, err = date(f.From); err != nil {
				return nil, fmt.Errorf("%sfrom: %w", where, err)
			}
		}
		if i > 0 && !t.From.After(tariffs[i-1].From) {
			return nil, fmt.Errorf("%sfrom: must be later than that of the prices before it", where)
		}
		if t.Prices, err = f.read(where, free); err != nil {
			return nil, err
		}
		if f.LongPrompt == nil {
			continue
		}
		where += "long_prompt."
		t.LongPrompt = &LongPrompt{AboveTokens: f.LongPrompt.AboveTokens}
		if t.LongPrompt.AboveTokens <= 0 {
			return nil, fmt.Errorf("%sabove_tokens: must be given and more than 0", where)
		}
		if t.LongPrompt.Prices, err = f.LongPrompt.read(where, free); err != nil {
			return nil, err
		}
	}
	return tariffs, nil
}

func (f *fileFigures) read(where string, free bool) (Prices, error) {
	var p Prices
	for _, figure := range [...]struct {
		name string
		from *int64
		to   *int64
	}{
		{"input", f.Input, &p.Input},
		{"output", f.Output, &p.Output},
		{"cache_read", f.CacheRead, &p.CacheRead},
		{"cache_write_5m", f.CacheWrite5m, &p.CacheWrite5m},
		{"cache_write_1h", f.CacheWrite1h, &p.CacheWrite1h},
	} {
		switch {
		case figure.from == nil:
			return p, fmt.Errorf("%s%s: must be given", where, figure.name)
		case *figure.from < 0 || *figure.from > maxPrice:
			return p, fmt.Errorf("%s%s: must be from 0 to %d", where, figure.name, maxPrice)
		case *figure.from == 0 && !free:
			return p, fmt.Errorf("%s%s: must be more than 0", where, figure.name)
		}
		*figure.to = *figure.from
	}
	return p, nil
}

func (s *surcharge) take(percents map[string]map[string]int64) error {
	for _, name := range slices.Sorted(maps.Keys(percents)) {
		into := map[string]*map[string]int64{"service_tier": &s.tier, "inference_geo": &s.geo, "speed": &s.speed}[name]
		if into == nil {
			return fmt.Errorf("percent.%s: must be service_tier, inference_geo or speed", name)
		}
		if *into == nil {
			*into = map[string]int64{}
		}
		for _, word := range slices.Sorted(maps.Keys(percents[name])) {
			p := percents[name][word]
			if p < 0 || p > maxPercent {
				return fmt.Errorf("percent.%s.%s: must be from 0 to %d", name, word, maxPercent)
			}
			(*into)[word] = p
		}
	}
	return nil
}

// index makes the models known by their names and checks the aliases.
func (c *Catalogue) index() error {
	c.byName = map[string]*Model{}
	for i := range c.models {
		m := &c.models[i]
		for _, name := range append([]string{m.ID}, m.Names...) {
			if name == "" {
				return fmt.Errorf("model %q: names: a name is empty", m.ID)
			}
			if other := c.byName[name]; other != nil {
				return fmt.Errorf("model %q: names: %q is a name of %q", m.ID, name, other.ID)
			}
			c.byName[name] = m
		}
	}
	for _, alias := range c.Aliases() {
		if c.byName[alias] != nil {
			return fmt.Errorf("aliases.%s: is a model's name already", alias)
		}
		if c.byName[c.aliases[alias]] == nil {
			return fmt.Errorf("aliases.%s: stands for the unknown model %q", alias, c.aliases[alias])
		}
	}
	return nil
}
