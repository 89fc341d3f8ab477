package openaiapi

import (
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
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
	request                   *chatRequest
	kind                      string
	described                 bool // json_schema is there
	name, description, schema jsontext.Value
}

var jsonSchemaObject = protocol.NewObject(openapi.Schema{Name: "ChatJSONSchema"},
	func(f *responseFormat, s *protocol.Scanner, name string) error {
		return readUnknown(f.request, s, "response_format.json_schema."+name)
	},
	protocol.Field[responseFormat]{Name: "name", Required: true, Schema: openapi.Text("Names the format for the caller; the model doesn't see it."), Read: protocol.ReadText(func(f *responseFormat) *jsontext.Value { return &f.name })},
	protocol.Field[responseFormat]{Name: "description", Schema: openapi.Text("Stands in the schema's own description."), Read: protocol.ReadText(func(f *responseFormat) *jsontext.Value { return &f.description })},
	protocol.Field[responseFormat]{Name: "schema", Schema: &openapi.Schema{Type: openapi.Object, Description: "Objects are closed (`additionalProperties: false`), and keywords that can't be enforced move into descriptions, with a warning."}, Read: func(f *responseFormat, s *protocol.Scanner) (err error) {
		f.schema, err = readObject(s)
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
	case typeText, typeJSON:
		return nil
	case typeSchema:
		if !f.described {
			return s.Invalid("json_schema", "field required")
		}
		if f.schema == nil {
			return s.Invalid("json_schema.schema", "field required")
		}
		return nil
	}
	return s.Invalid("type", "must be text, json_object or json_schema")
}

// unfence says that a code fence around the answer is to be taken off: the
// model was only asked for JSON.
func (f *responseFormat) unfence(rules *message.Rules) bool {
	return f.kind == typeJSON || f.kind == typeSchema && rules.NoStructuredOutputs
}

// outputFormat gives the member format of output_config, nil for none. Where
// there is no such format, it asks for it in the system prompt.
func (c *chatRequest) outputFormat(rules *message.Rules) (jsontext.Value, error) {
	f := &c.format
	switch {
	case f.kind == typeJSON:
		c.transcript.AddSystem(protocol.AppendText(nil, protocol.JSONInstruction))
		return nil, nil
	case f.kind != typeSchema:
		return nil, nil
	}
	schema, moved, err := protocol.StrictSchema(schemaField, protocol.DescribeSchema(f.schema, f.description))
	if err != nil {
		return nil, err
	}
	if rules.NoStructuredOutputs {
		c.warn("response_format", "the model can't be held to a schema; it was asked to keep to it")
		c.transcript.AddSystem(protocol.AppendText(nil, protocol.JSONInstruction+" It must be valid under this JSON schema:\n"+string(f.schema)))
		return nil, nil
	}
	c.warnMoved(schemaField, moved)
	return append(append([]byte(`{"type":"json_schema","schema":`), schema...), '}'), nil
}
