package protocol

import (
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/openapi"
)

// Field is one member of a request's object: how it is documented and how it is
// read. Read must read the member's value.
type Field[T any] struct {
	Name     string
	Schema   *openapi.Schema
	Required bool
	Read     func(into *T, s *Scanner) error
}

// Object is the table of an object's members. What decodes a request also
// documents it. It is made once and safe for concurrent use.
type Object[T any] struct {
	schema   *openapi.Schema
	fields   []Field[T]
	index    map[string]int
	required uint64
	other    func(into *T, s *Scanner, name string) error
}

// maxFields is how many fields an object may have: one bit each.
const maxFields = 64

// NewObject makes the table of an object. The schema names and describes it; its
// properties are filled in from the fields. other reads members that aren't in
// the table; nil skips them.
func NewObject[T any](schema openapi.Schema, other func(into *T, s *Scanner, name string) error, fields ...Field[T]) *Object[T] {
	if len(fields) > maxFields {
		panic("protocol: an object of more than 64 fields")
	}
	o := &Object[T]{fields: fields, index: make(map[string]int, len(fields)), other: other}
	schema.Type = openapi.Object
	for i, f := range fields {
		o.index[f.Name] = i
		if f.Required {
			o.required |= 1 << i
		}
		schema.Properties = append(schema.Properties, openapi.Property{Name: f.Name, Schema: f.Schema, Required: f.Required})
	}
	o.schema = &schema
	return o
}

// Schema documents the object.
func (o *Object[T]) Schema() *openapi.Schema { return o.schema }

// Document reads a document that is one such object and nothing behind it.
func (o *Object[T]) Document(s *Scanner, into *T) error {
	var seen uint64
	if err := s.Document(func(name []byte) error { return o.member(s, into, name, &seen) }); err != nil {
		return err
	}
	return o.complete(s, seen)
}

// Read reads an object that stands inside a document.
func (o *Object[T]) Read(s *Scanner, into *T) error {
	var seen uint64
	if err := s.Object(func(name []byte) error { return o.member(s, into, name, &seen) }); err != nil {
		return err
	}
	return o.complete(s, seen)
}

func (o *Object[T]) member(s *Scanner, into *T, name []byte, seen *uint64) error {
	i, known := o.index[string(name)]
	if known {
		if s.Kind() != 'n' { // null is as good as absent
			*seen |= 1 << i
		}
		return o.fields[i].Read(into, s)
	}
	if o.other != nil {
		return o.other(into, s, string(name))
	}
	return s.Skip()
}

// complete refuses an object in which a required member is missing.
func (o *Object[T]) complete(s *Scanner, seen uint64) error {
	missing := o.required &^ seen
	if missing == 0 {
		return nil
	}
	for i, f := range o.fields {
		if missing&(1<<i) != 0 {
			return s.Invalid(f.Name, "field required")
		}
	}
	return nil
}

// ReadText makes a Field's Read for a string, kept quoted as it stands; nil for
// null.
func ReadText[T any](at func(*T) *jsontext.Value) func(*T, *Scanner) error {
	return func(into *T, s *Scanner) (err error) {
		*at(into), err = s.Text()
		return err
	}
}

// ReadString makes a Field's Read for a string, decoded; "" for null.
func ReadString[T any](at func(*T) *string) func(*T, *Scanner) error {
	return func(into *T, s *Scanner) error {
		text, err := s.Text()
		*at(into) = Unquote(text)
		return err
	}
}

// ReadFlag makes a Field's Read for a boolean; false for null.
func ReadFlag[T any](at func(*T) *bool) func(*T, *Scanner) error {
	return func(into *T, s *Scanner) error {
		flag, err := s.Bool()
		*at(into) = flag != nil && *flag
		return err
	}
}

// ReadBool makes a Field's Read for a boolean that may be absent; nil for null.
func ReadBool[T any](at func(*T) **bool) func(*T, *Scanner) error {
	return func(into *T, s *Scanner) (err error) {
		*at(into), err = s.Bool()
		return err
	}
}

// ReadCount makes a Field's Read for a whole number of at least least; zero for
// null.
func ReadCount[T any](least int64, at func(*T) *int64) func(*T, *Scanner) error {
	return func(into *T, s *Scanner) (err error) {
		*at(into), err = s.Count(least)
		return err
	}
}

// ReadNumber makes a Field's Read for a number in a range; nil for null.
func ReadNumber[T any](low, high float64, at func(*T) **float64) func(*T, *Scanner) error {
	return func(into *T, s *Scanner) (err error) {
		*at(into), err = s.Number(low, high)
		return err
	}
}
