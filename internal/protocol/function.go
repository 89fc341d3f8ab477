package protocol

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
)

// maxMoved bounds how many keywords of one schema are named in a warning.
const maxMoved = 8

// Function is a function that the caller runs, as OpenAI's APIs describe it. Its
// slices share memory with the request.
type Function struct {
	Name, Description jsontext.Value // strings, quoted; the latter may be nil
	Parameters        jsontext.Value // an object; nil for none
	Strict            bool
	CacheControl      jsontext.Value // an object; nil for none
	Field             string         // where the parameters stand, for a strict one
}

// Append appends a function as the Messages API has its tools. A strict one's
// schema is put into the form that can be enforced; what can't be is told to warn.
// An error is an apierror.Error.
func (f *Function) Append(dst []byte, rules *message.Rules, warn func(field, text string)) ([]byte, error) {
	dst = append(append(dst, `{"name":`...), f.Name...)
	if len(Inner(f.Description)) > 0 {
		dst = append(append(dst, `,"description":`...), f.Description...)
	}
	parameters, strict := f.Parameters, f.Strict
	if len(parameters) <= len("{}") {
		// A function without parameters; the Messages API wants a type.
		parameters = jsontext.Value(`{"type":"object","properties":{}}`)
	}
	if strict && rules.NoStructuredOutputs {
		warn(f.Field, "the model can't be held to a strict schema")
		strict = false
	}
	if strict {
		var moved []string
		var err error
		if parameters, moved, err = StrictSchema(f.Field, parameters); err != nil {
			return nil, err
		}
		warnMoved(f.Field, moved, warn)
	}
	dst = append(append(dst, `,"input_schema":`...), parameters...)
	if strict {
		dst = append(dst, `,"strict":true`...)
	}
	return endBlock(dst, f.CacheControl), nil
}

// warnMoved names the keywords of a schema that can't be enforced.
func warnMoved(field string, moved []string, warn func(field, text string)) {
	if len(moved) == 0 {
		return
	}
	more := ""
	if len(moved) > maxMoved {
		moved, more = moved[:maxMoved], ", ..."
	}
	warn(field, "can't be enforced and stand in descriptions: "+strings.Join(moved, ", ")+more)
}

// AppendToolChoice appends the member tool_choice with a comma behind it, nothing
// where nothing is to be said. The kind is the Messages API's, "" for none; the
// name, a quoted string, is that of the kind tool. serial asks for one call at a
// time.
func AppendToolChoice(dst []byte, kind string, name jsontext.Value, serial bool) []byte {
	if kind == "" {
		if !serial {
			return dst
		}
		kind = "auto"
	}
	dst = append(append(append(dst, `"tool_choice":{"type":"`...), kind...), '"')
	if kind == "tool" {
		dst = append(append(dst, `,"name":`...), name...)
	}
	if serial && kind != "none" {
		dst = append(dst, `,"disable_parallel_tool_use":true`...)
	}
	return append(dst, "},"...)
}

// OutputFormat is the form in which an answer is wanted. The zero value is text.
type OutputFormat struct {
	JSON                bool           // any JSON object; the schema counts otherwise
	Schema, Description jsontext.Value // an object and a quoted string; nil for none
	Field               string         // where the schema stands
}

// Unfence says that a code fence around the answer is to be taken off: the model
// was only asked for JSON.
func (f *OutputFormat) Unfence(rules *message.Rules) bool {
	return f.JSON || f.Schema != nil && rules.NoStructuredOutputs
}

// Member gives the member format of output_config, nil for none. Where there is no
// such format, it hands to ask what is to be added to the system prompt, a quoted
// string. What can't be honoured is told to warn. An error is an apierror.Error.
func (f *OutputFormat) Member(rules *message.Rules, ask func(jsontext.Value), warn func(field, text string)) (jsontext.Value, error) {
	switch {
	case f.JSON:
		ask(AppendText(nil, JSONInstruction))
		return nil, nil
	case f.Schema == nil:
		return nil, nil
	}
	schema, moved, err := StrictSchema(f.Field, DescribeSchema(f.Schema, f.Description))
	if err != nil {
		return nil, err
	}
	if rules.NoStructuredOutputs {
		warn(f.Field, "the model can't be held to a schema; it was asked to keep to it")
		ask(AppendText(nil, JSONInstruction+" It must be valid under this JSON schema:\n"+string(f.Schema)))
		return nil, nil
	}
	warnMoved(f.Field, moved, warn)
	return append(append([]byte(`{"type":"json_schema","schema":`), schema...), '}'), nil
}
