package openaiapi

import (
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

const noEffect = "has no effect here"

// maxName bounds an unknown member's name in a warning, in bytes.
const maxName = 64

// otherFields are the members that the Messages API has no place for. What would
// change the answer's shape is refused, what would only change its words or how
// it is kept is named in the warnings, and a value that asks for nothing is let
// through.
func otherFields() []protocol.Field[chatRequest] {
	object := &openapi.Schema{Type: openapi.Object}
	number := &openapi.Schema{Type: openapi.Number}
	return []protocol.Field[chatRequest]{
		{Name: "n", Schema: &openapi.Schema{Type: openapi.Integer, Minimum: 1, Maximum: 1, Description: "Only 1 is supported."}, Read: readN},
		{Name: "modalities", Schema: &openapi.Schema{Type: openapi.Array, Items: &openapi.Schema{Type: openapi.String, Enum: []string{"text"}}}, Read: readModalities},
		refused("logprobs", openapi.Boolean),
		refused("top_logprobs", openapi.Integer),
		refused("audio", openapi.Object),
		refused("functions", openapi.Array),
		refused("function_call", ""),
		ignored("seed", noEffect, &openapi.Schema{Type: openapi.Integer}),
		ignored("frequency_penalty", noEffect, number),
		ignored("presence_penalty", noEffect, number),
		ignored("logit_bias", noEffect, object),
		ignored("store", noEffect, &openapi.Schema{Type: openapi.Boolean}),
		ignored("metadata", noEffect, object),
		ignored("prediction", noEffect, object),
		ignored("web_search_options", noEffect, object),
		ignored("moderation", noEffect, object),
		ignored("prompt_cache_key", noEffect, &openapi.Schema{Type: openapi.String}),
		ignored("prompt_cache_retention", noEffect, &openapi.Schema{Type: openapi.String}),
		ignored("prompt_cache_options", noEffect, object),
		ignored("service_tier", noEffect, &openapi.Schema{Type: openapi.String}, "auto", "default"),
		ignored("verbosity", noEffect, &openapi.Schema{Type: openapi.String}, "medium"),
		{Name: "allowed_tools", Schema: protocol.WorkTools(), Read: func(c *chatRequest, s *protocol.Scanner) error { return c.work.ReadTools(s) }},
		{Name: "session_id", Schema: protocol.WorkSession(), Read: func(c *chatRequest, s *protocol.Scanner) error { return c.work.ReadSession(s) }},
		{Name: "working_directory", Schema: protocol.WorkDirectory(), Read: func(c *chatRequest, s *protocol.Scanner) error { return c.work.ReadDirectory(s) }},
	}
}

// ignored makes a field that has no effect. The words are values that ask for
// nothing beside those that never do.
func ignored(name, why string, schema *openapi.Schema, words ...string) protocol.Field[chatRequest] {
	described := *schema
	described.Description = "Has no effect other than a warning."
	if why != noEffect {
		described.Description += " (" + why + ")"
	}
	return protocol.Field[chatRequest]{Name: name, Schema: &described, Read: func(c *chatRequest, s *protocol.Scanner) error {
		value, err := s.Value()
		if err != nil || protocol.AsksNothing(value) || value.Kind() == '"' && slices.Contains(words, protocol.Unquote(value)) {
			return err
		}
		c.warn(name, why)
		return nil
	}}
}

// refused makes a field that would change the answer's shape.
func refused(name, kind string) protocol.Field[chatRequest] {
	return protocol.Field[chatRequest]{
		Name: name, Schema: &openapi.Schema{Type: kind, Description: "Refused unless it asks for nothing."},
		Read: func(_ *chatRequest, s *protocol.Scanner) error {
			value, err := s.Value()
			if err == nil && !protocol.AsksNothing(value) {
				err = s.Invalid("", "isn't supported")
			}
			return err
		},
	}
}

// readUnknown reads past a member that isn't in a table and names it.
func readUnknown(c *chatRequest, s *protocol.Scanner, name string) error {
	value, err := s.Value()
	if err != nil || protocol.AsksNothing(value) {
		return err
	}
	if c.unknown++; c.unknown <= maxUnknown {
		c.warn(name[:min(len(name), maxName)], "isn't known here")
	}
	return nil
}

func readN(_ *chatRequest, s *protocol.Scanner) error {
	value, err := s.Value()
	if err == nil && value.Kind() != 'n' && string(value) != "1" {
		err = s.Invalid("", "only 1 is supported")
	}
	return err
}

func readModalities(_ *chatRequest, s *protocol.Scanner) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	other := false
	err := s.Array(func(int) error {
		var kind jsontext.Value
		kind, err := s.Text()
		other = other || string(protocol.Inner(kind)) != "text"
		return err
	})
	if err == nil && other {
		err = s.Invalid("", "only text is supported")
	}
	return err
}
