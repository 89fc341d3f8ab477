package processapi

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/protocol"
)

// readSchema reads output_schema as the form of the answer.
func (p *processRequest) readSchema(s *protocol.Scanner) error {
	schema, err := readObject(s)
	if err != nil || schema == nil {
		return err
	}
	return p.setSchema("output_schema", schema)
}

// setSchema takes the schema of the answer and names what of it the model only
// reads as a description.
func (p *processRequest) setSchema(field string, schema jsontext.Value) error {
	strict, moved, err := protocol.StrictSchemaMoved(field, schema)
	if err != nil {
		return err
	}
	p.schema = append(append([]byte(`{"type":"json_schema","schema":`), strict...), '}')
	if len(moved) > 0 {
		p.warn(field, "not enforced, only told to the model: "+strings.Join(moved, ", "))
	}
	return nil
}

// readFormat reads the form of the answer as the Chat Completions API gives it.
func (p *processRequest) readFormat(s *protocol.Scanner) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	var kind, schema jsontext.Value
	err := s.Object(func(name []byte) (err error) {
		switch string(name) {
		case "type":
			kind, err = s.Text()
		case "json_schema":
			err = s.Object(func(name []byte) (err error) {
				if string(name) == "schema" {
					schema, err = readObject(s)
					return err
				}
				return s.Skip() // name and strict: the schema is always kept to
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
	case "json_schema":
		switch {
		case schema == nil:
			return s.Invalid("json_schema.schema", "field required")
		case p.schema != nil:
			p.warn("response_format", "isn't used beside output_schema")
			return nil
		}
		return p.setSchema("response_format.json_schema.schema", schema)
	}
	return s.Invalid("type", "must be text or json_schema")
}
