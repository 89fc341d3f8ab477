// Package openapi writes the service's OpenAPI 3.1 document
// (spec.openapis.org/oas/v3.1.1) from what the protocol packages say of their
// endpoints. The schemas of requests come from the tables by which those
// packages decode them, so that the document can't drift.
package openapi

import (
	"bytes"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The types of a Schema.
const (
	String  = "string"
	Integer = "integer"
	Number  = "number"
	Boolean = "boolean"
	Array   = "array"
	Object  = "object"
	Null    = "null" // in an AnyOf
)

// Schema describes a value. It is built once and never changed.
type Schema struct {
	// Name makes the schema one of the document's components, to which others
	// refer; "" writes it in place. Two schemas of one name must be equal.
	Name        string
	Type        string // one of the constants above, "" for any or where AnyOf says more
	Description string // Markdown
	Format      string // of a string: date-time, binary
	Enum        []string
	Default     any // nil: none
	Minimum     any // a number, nil: none
	Maximum     any
	MaxLength   int
	MaxItems    int
	Items       *Schema
	Properties  []Property // of an object, in the order in which they are shown
	Values      *Schema    // of an object: what the members of other names hold
	AnyOf       []*Schema
	Deprecated  bool
}

// Property is one member of an object.
type Property struct {
	Name     string
	Schema   *Schema
	Required bool
}

// write appends the schema to enc, with named ones as references. Each named one
// is handed to named.
func (s *Schema) write(enc *jsontext.Encoder, named func(*Schema)) error {
	if s.Name != "" {
		named(s)
		return writeAll(enc, jsontext.BeginObject, jsontext.String("$ref"), jsontext.String("#/components/schemas/"+s.Name), jsontext.EndObject)
	}
	return s.writeOut(enc, named)
}

// writeOut is write for the place where the schema itself stands.
func (s *Schema) writeOut(enc *jsontext.Encoder, named func(*Schema)) error {
	w := &writer{enc: enc}
	w.token(jsontext.BeginObject)
	w.text("type", s.Type)
	w.text("description", s.Description)
	w.text("format", s.Format)
	w.value("enum", s.Enum, len(s.Enum) > 0)
	w.value("default", s.Default, s.Default != nil)
	w.value("minimum", s.Minimum, s.Minimum != nil)
	w.value("maximum", s.Maximum, s.Maximum != nil)
	w.value("maxLength", s.MaxLength, s.MaxLength > 0)
	w.value("maxItems", s.MaxItems, s.MaxItems > 0)
	w.value("deprecated", true, s.Deprecated)
	if s.Items != nil {
		w.token(jsontext.String("items"))
		w.do(func() error { return s.Items.write(enc, named) })
	}
	if len(s.AnyOf) > 0 {
		w.token(jsontext.String("anyOf"))
		w.token(jsontext.BeginArray)
		for _, one := range s.AnyOf {
			w.do(func() error { return one.write(enc, named) })
		}
		w.token(jsontext.EndArray)
	}
	var required []string
	if len(s.Properties) > 0 {
		w.token(jsontext.String("properties"))
		w.token(jsontext.BeginObject)
		for _, p := range s.Properties {
			w.token(jsontext.String(p.Name))
			w.do(func() error { return p.Schema.write(enc, named) })
			if p.Required {
				required = append(required, p.Name)
			}
		}
		w.token(jsontext.EndObject)
	}
	if s.Values != nil {
		w.token(jsontext.String("additionalProperties"))
		w.do(func() error { return s.Values.write(enc, named) })
	}
	w.value("required", required, len(required) > 0)
	w.token(jsontext.EndObject)
	return w.err
}

// writer keeps the first error.
type writer struct {
	enc *jsontext.Encoder
	err error
}

func (w *writer) do(f func() error) {
	if w.err != nil {
		return
	}
	if err := f(); w.err == nil { // f may have met one itself
		w.err = err
	}
}

func (w *writer) token(t jsontext.Token) { w.do(func() error { return w.enc.WriteToken(t) }) }

func (w *writer) text(name, value string) { w.value(name, value, value != "") }

func (w *writer) value(name string, value any, present bool) {
	if !present {
		return
	}
	w.token(jsontext.String(name))
	w.do(func() error { return json.MarshalEncode(w.enc, value, json.Deterministic(true)) })
}

func writeAll(enc *jsontext.Encoder, tokens ...jsontext.Token) error {
	w := &writer{enc: enc}
	for _, t := range tokens {
		w.token(t)
	}
	return w.err
}

// equal compares two schemas by what they write.
func equal(a, b *Schema) bool {
	out := func(s *Schema) []byte {
		var buf bytes.Buffer
		_ = s.writeOut(jsontext.NewEncoder(&buf), func(*Schema) {}) // a buffer takes everything
		return buf.Bytes()
	}
	return a == b || bytes.Equal(out(a), out(b))
}
