package processapi

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// format is the form in which an answer is wanted.
type format struct {
	json                bool // any JSON object
	schema, description jsontext.Value
	field               string // where the schema stands
}

// wanted says that the answer must be JSON. A code fence around it is taken off
// then: models that are only asked for JSON are fond of them.
func (f *format) wanted() bool { return f.json || f.schema != nil }

// readSchema reads output_schema, which wins over response_format.
func (p *processRequest) readSchema(s *protocol.Scanner) error {
	schema, err := readObject(s)
	if err == nil && schema != nil {
		if p.format.wanted() {
			p.warn("response_format", "isn't used beside output_schema")
		}
		p.format = format{schema: schema, field: "output_schema"}
	}
	return err
}

// readFormat reads the form of the answer as the Chat Completions API gives it.
func (p *processRequest) readFormat(s *protocol.Scanner) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	f := format{field: "response_format.json_schema.schema"}
	var kind jsontext.Value
	err := s.Object(func(name []byte) (err error) {
		switch string(name) {
		case "type":
			kind, err = s.Text()
		case "json_schema":
			err = s.Object(func(name []byte) (err error) {
				switch string(name) {
				case "schema":
					f.schema, err = readObject(s)
				case "description":
					f.description, err = s.Text()
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
		f = format{json: true}
	case "json_schema":
		if f.schema == nil {
			return s.Invalid("json_schema.schema", "field required")
		}
	default:
		return s.Invalid("type", "must be text, json_object or json_schema")
	}
	if p.format.schema != nil {
		p.warn("response_format", "isn't used beside output_schema")
		return nil
	}
	p.format = f
	return nil
}

// output gives the member format of output_config, nil for none. Where there is
// no such format, it asks for it in the system prompt.
func (f *format) output(rules *message.Rules, words *protocol.Transcript, w *warnings) (jsontext.Value, error) {
	if f.json {
		words.AddSystem(protocol.AppendText(nil, protocol.JSONInstruction))
	}
	if f.schema == nil {
		return nil, nil
	}
	schema, moved, err := protocol.StrictSchema(f.field, protocol.DescribeSchema(f.schema, f.description))
	if err != nil {
		return nil, err
	}
	if rules.NoStructuredOutputs {
		w.warn(f.field, "the model can't be held to a schema; it was asked to keep to it")
		words.AddSystem(protocol.AppendText(nil, protocol.JSONInstruction+" It must be valid under this JSON schema:\n"+string(f.schema)))
		return nil, nil
	}
	if len(moved) > 0 {
		w.warn(f.field, "not enforced, only told to the model: "+strings.Join(moved, ", "))
	}
	return append(append([]byte(`{"type":"json_schema","schema":`), schema...), '}'), nil
}
