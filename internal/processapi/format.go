package processapi

import (
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/protocol"
)

// wanted says that the answer must be JSON. A code fence around it is taken off
// then: models that are only asked for JSON are fond of them.
func wanted(f *protocol.OutputFormat) bool { return f.JSON || f.Schema != nil }

// readSchema reads output_schema, which wins over response_format.
func (p *processRequest) readSchema(s *protocol.Scanner) error {
	schema, err := s.ObjectValue()
	if err == nil && schema != nil {
		if wanted(&p.format) {
			p.warn("response_format", "isn't used beside output_schema")
		}
		p.format = protocol.OutputFormat{Schema: schema, Field: "output_schema"}
	}
	return err
}

// readFormat reads the form of the answer as the Chat Completions API gives it.
func (p *processRequest) readFormat(s *protocol.Scanner) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	f := protocol.OutputFormat{Field: "response_format.json_schema.schema"}
	var kind jsontext.Value
	err := s.Object(func(name []byte) (err error) {
		switch string(name) {
		case "type":
			kind, err = s.Text()
		case "json_schema":
			err = s.Object(func(name []byte) (err error) {
				switch string(name) {
				case "schema":
					f.Schema, err = s.ObjectValue()
				case "description":
					f.Description, err = s.Text()
				default:
					err = s.Skip() // name and strict: the schema is always kept to
				}
				return err
			})
		default:
			err = s.Skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	switch protocol.Unquote(kind) {
	case "text":
		return nil
	case "json_object":
		f = protocol.OutputFormat{JSON: true}
	case "json_schema":
		if f.Schema == nil {
			return s.Invalid("json_schema.schema", "field required")
		}
	default:
		return s.Invalid("type", "must be text, json_object or json_schema")
	}
	if p.format.Schema != nil {
		p.warn("response_format", "isn't used beside output_schema")
		return nil
	}
	p.format = f
	return nil
}
