// Package pricing knows the models: their names, limits, rules and prices. All
// of it is data, in prices.json, which says where it is from, and in a file of the
// operator's own.
package pricing

import (
	_ "embed"
	"slices"
	"strings"
	"time"

	"claude-code-api-service/internal/message"
)

//go:embed prices.json
var embedded []byte

// Model is what is known of a model.
type Model struct {
	ID            string        // as the Messages API lists it
	Names         []string      // other names under which it is asked for
	DisplayName   string        // for people
	Created       time.Time     // its release, in UTC; 1970-01-01 when not known, as in the Models API
	ContextWindow int           // tokens
	Rules         message.Rules // what it takes of a request
	Prices        []Tariff      // by the moment from which they hold; never empty
}

// Catalogue is the known models. It never changes and is safe for concurrent
// use.
type Catalogue struct {
	models    []Model
	byName    map[string]*Model // ids and other names
	aliases   map[string]string
	surcharge surcharge
}

// Options say which data a Catalogue holds.
type Options struct {
	// Data is a file in the form of prices.json; nil is the one built in.
	Data []byte
	// Override is a file in the same form with what the operator wants otherwise;
	// nil: nothing. Its models are merged by their ids, member by member, its aliases
	// and percentages by their names. Only here may a price be 0.
	Override []byte
}

// New reads a catalogue. Unknown fields, missing figures, names given twice and
// aliases without a model are errors, which name model and field.
func New(options Options) (*Catalogue, error) {
	if options.Data == nil {
		options.Data = embedded
	}
	c := &Catalogue{aliases: map[string]string{}}
	if err := c.merge(options.Data, false); err != nil {
		return nil, err
	}
	if options.Override != nil {
		if err := c.merge(options.Override, true); err != nil {
			return nil, err
		}
	}
	return c, c.index()
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
