package openaiapi

import (
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

// The types of a response_format.
const (
	typeText   = "text"
	typeJSON   = "json_object"
	typeSchema = "json_schema"
)

// schemaField names the schema of a response_format in errors and warnings.
const schemaField = "response_format.json_schema.schema"

// responseFormat is a decoded response_format.
type responseFormat struct {
	protocol.OutputFormat
	request   *chatRequest
	kind      string
	described bool // json_schema is there
	name      jsontext.Value
}

var jsonSchemaObject = protocol.NewObject(openapi.Schema{Name: "ChatJSONSchema"},
	func(f *responseFormat, s *protocol.Scanner, name string) error {
		return readUnknown(f.request, s, "response_format.json_schema."+name)
	},
	protocol.Field[responseFormat]{Name: "name", Required: true, Schema: openapi.Text("Names the format for the caller; the model doesn't see it."), Read: protocol.ReadText(func(f *responseFormat) *jsontext.Value { return &f.name })},
	protocol.Field[responseFormat]{Name: "description", Schema: openapi.Text("Stands in the schema's own description."), Read: protocol.ReadText(func(f *responseFormat) *jsontext.Value { return &f.Description })},
	protocol.Field[responseFormat]{Name: "schema", Schema: &openapi.Schema{Type: openapi.Object, Description: "Objects are closed (`additionalProperties: false`), and keywords that can't be enforced move into descriptions, with a warning."}, Read: func(f *responseFormat, s *protocol.Scanner) (err error) {
		f.Schema, err = s.ObjectValue()
		return err
	}},
	protocol.Field[responseFormat]{Name: "strict", Schema: openapi.Flag("The answer is held to the schema either way."), Read: func(_ *responseFormat, s *protocol.Scanner) error {
		_, err := s.Bool()
		return err
	}},
)

var formatObject = protocol.NewObject(openapi.Schema{Name: "ChatResponseFormat", Description: "With `json_object`, the model is asked for one JSON object in its system prompt, and a Markdown code fence around its answer is taken off."},
	func(f *responseFormat, s *protocol.Scanner, name string) error {
		return readUnknown(f.request, s, "response_format."+name)
	},
	protocol.Field[responseFormat]{Name: "type", Required: true, Schema: &openapi.Schema{Type: openapi.String, Enum: []string{typeText, typeJSON, typeSchema}}, Read: protocol.ReadString(func(f *responseFormat) *string { return &f.kind })},
	protocol.Field[responseFormat]{Name: "json_schema", Schema: jsonSchemaObject.Schema(), Read: func(f *responseFormat, s *protocol.Scanner) error {
		if s.Kind() == 'n' {
			return s.Skip()
		}
		f.described = true
		return jsonSchemaObject.Read(s, f)
	}},
)

func (c *chatRequest) readFormat(s *protocol.Scanner) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	f := &c.format
	f.request = c
	if err := formatObject.Read(s, f); err != nil {
		return err
	}
	switch f.kind {
	case typeText:
		f.Schema = nil
		return nil
	case typeJSON:
		f.JSON, f.Schema = true, nil
		return nil
	case typeSchema:
		if !f.described {
			return s.Invalid("json_schema", "field required")
		}
		if f.Schema == nil {
			return s.Invalid("json_schema.schema", "field required")
		}
		f.Field = schemaField
		return nil
	}
	return s.Invalid("type", "must be text, json_object or json_schema")
}
