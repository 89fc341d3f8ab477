package responsesapi

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

// ignore reads a member that has no effect here, and warns of it unless it asks
// for nothing.
func (c *request) ignore(s *protocol.Scanner, name string) error {
	value, err := s.Value()
	if err == nil && !protocol.AsksNothing(value) {
		c.warn(name, "has no effect here")
	}
	return err
}

// ineffective makes a Field's Read for a member that has no effect here.
func ineffective(name string) func(*request, *protocol.Scanner) error {
	return func(c *request, s *protocol.Scanner) error { return c.ignore(s, name) }
}

// warner is what a Field's Read may warn.
type warner[T any] interface {
	*T
	warn(field, text string)
}

// except makes a Field's Read for a string that has no effect here unless it is
// one of these, which ask for nothing.
func except[T any, W warner[T]](name string, fine ...string) func(*T, *protocol.Scanner) error {
	return func(into *T, s *protocol.Scanner) error {
		value, err := s.Text()
		if err == nil && value != nil && !slices.Contains(fine, protocol.Unquote(value)) {
			W(into).warn(name, "has no effect here")
		}
		return err
	}
}

// oneOf makes a Field's Read for a string that must be one of these; "" for null.
func oneOf(at func(*request) *string, values ...string) func(*request, *protocol.Scanner) error {
	return func(c *request, s *protocol.Scanner) error {
		value, err := s.Text()
		if err != nil || value == nil {
			return err
		}
		*at(c) = protocol.Unquote(value)
		if !slices.Contains(values, *at(c)) {
			return s.Invalid("", "must be "+strings.Join(values[:len(values)-1], ", ")+" or "+values[len(values)-1])
		}
		return nil
	}
}

// object makes a Field's Read for an object that may be null.
func object(o *protocol.Object[request]) func(*request, *protocol.Scanner) error {
	return func(c *request, s *protocol.Scanner) error {
		if s.Kind() == 'n' {
			return s.Skip()
		}
		return o.Read(s, c)
	}
}

// refuse makes a Field's Read for what would change the answer's shape: it must
// ask for nothing.
func refuse(must string) func(*request, *protocol.Scanner) error {
	return func(_ *request, s *protocol.Scanner) error {
		value, err := s.Value()
		if err == nil && !protocol.AsksNothing(value) {
			err = s.Invalid("", must)
		}
		return err
	}
}

// refused documents what must ask for nothing: null, or such a value of one of
// these types.
func refused(what string, types ...string) *openapi.Schema {
	s := &openapi.Schema{Deprecated: true, Description: what + " are refused.", AnyOf: []*openapi.Schema{{Type: openapi.Null}}}
	for _, t := range types {
		s.AnyOf = append(s.AnyOf, &openapi.Schema{Type: t})
	}
	return s
}

func deprecated(description string) *openapi.Schema {
	return &openapi.Schema{Type: openapi.String, Deprecated: true, Description: description}
}

// text0 documents a member whose type doesn't matter.
func text0(description string) *openapi.Schema { return &openapi.Schema{Description: description} }

func (c *request) readTruncation(s *protocol.Scanner) (err error) {
	if c.truncation, err = s.Text(); err != nil || c.truncation == nil {
		return err
	}
	switch string(protocol.Inner(c.truncation)) {
	case "disabled":
	case "auto":
		c.warn("truncation", "auto has no effect: a conversation that is too long is refused")
	default:
		return s.Invalid("", "must be auto or disabled")
	}
	return nil
}

func (c *request) readInclude(s *protocol.Scanner) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	return s.Array(func(int) error {
		value, err := s.Text()
		switch name := protocol.Unquote(value); {
		case err != nil || name == "":
			return err
		case name == "reasoning.encrypted_content":
			c.encrypted = true
		case name == "message.output_text.logprobs":
			return s.Invalid("", "log probabilities aren't supported")
		default:
			c.warn("include", name+" has no effect here")
		}
		return nil
	})
}

func (c *request) readStreamOptions(s *protocol.Scanner) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	return s.Object(func(name []byte) error { return c.ignore(s, "stream_options."+string(name)) })
}

func (c *request) readMetadata(s *protocol.Scanner) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	start, pairs := s.Offset(), 0
	err := s.Object(func([]byte) error {
		if pairs++; s.Kind() != '"' {
			if err := s.Skip(); err != nil {
				return err
			}
			return s.Invalid("", "must be a string")
		}
		return s.Skip()
	})
	if err == nil && pairs > maxMetadata {
		err = s.Invalid("", "at most 16 pairs are allowed")
	}
	c.rawMeta = s.Since(start)
	return err
}

// oneLine gives a value without line breaks, which would end a line of an event
// stream. It copies only where there are any.
func oneLine(value jsontext.Value) jsontext.Value {
	if slices.ContainsFunc(value, func(b byte) bool { return b == '\n' || b == '\r' }) {
		value = value.Clone()
		_ = value.Compact() // it has been read as valid JSON
	}
	return value
}
