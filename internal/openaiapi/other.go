package openaiapi

import (
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/protocol"
)

// readOther reads the fields that the Messages API has no place for. What
// would change the answer's shape is refused, what would only change its words
// is named in the warnings, and a value that asks for nothing is let through.
func (c *chatRequest) readOther(s *protocol.Scanner, name string) error {
	value, err := s.Value()
	if err != nil {
		return err
	}
	if name == "n" && value.Kind() != 'n' && string(value) != "1" {
		return s.Invalid("", "only 1 is supported")
	}
	if asksNothing(value) {
		return nil
	}
	switch name {
	case "logprobs", "top_logprobs", "audio", "functions", "function_call":
		return s.Invalid("", "isn't supported")
	case "modalities":
		return readModalities(s, value)
	case "response_format":
		return c.readResponseFormat(s, value)
	case "service_tier":
		if tier := protocol.Unquote(value); tier != "auto" && tier != "default" {
			c.warn(name, "has no effect here")
		}
	case "verbosity":
		if protocol.Unquote(value) != "medium" {
			c.warn(name, "has no effect here")
		}
	case "seed", "frequency_penalty", "presence_penalty", "logit_bias", "store", "metadata", "prediction",
		"web_search_options", "thinking", "top_k", "allowed_tools", "working_directory", "timeout":
		c.warn(name, "has no effect here")
	}
	return nil
}

// asksNothing says that a value is what an absent field means: null, false, 0,
// and what is empty. A seed of 0 is a seed, but no less without effect.
func asksNothing(value jsontext.Value) bool {
	switch string(value) {
	case "null", "false", "0", "0.0", `""`, "[]", "{}":
		return true
	}
	return false
}

// readResponseFormat lets text through. The JSON formats are refused rather than
// ignored: the caller would parse what comes.
func (c *chatRequest) readResponseFormat(s *protocol.Scanner, value jsontext.Value) error {
	inner := protocol.NewScanner(value)
	var kind jsontext.Value
	err := inner.Document(func(name []byte) (err error) {
		if string(name) == "type" {
			kind, err = inner.Text()
			return err
		}
		return inner.Skip()
	})
	if err != nil {
		return s.Invalid("", "must be an object with a type")
	}
	if string(protocol.Inner(kind)) != "text" {
		return s.Invalid("type", "only text is supported")
	}
	return nil
}

func readModalities(s *protocol.Scanner, value jsontext.Value) error {
	inner := protocol.NewScanner(value)
	return inner.Array(func(int) error {
		kind, err := inner.Text()
		if err != nil || string(protocol.Inner(kind)) != "text" {
			return s.Invalid("", "only text is supported")
		}
		return nil
	})
}
