package processapi

import (
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

// batchRequest is a decoded batch. Its slices share memory with the body.
type batchRequest struct {
	prompts          []prompt
	model, projectID string
	system           jsontext.Value
	timeout          *float64 // seconds
	useCLI           *bool
	async            bool
	generation
	warnings

	read prompt // the one that is being read
}

// prompt is one of a batch. Both are JSON, as they came; id is nil where there
// is none.
type prompt struct{ text, id jsontext.Value }

// batchObject and promptObject are the tables of a batch. They are never
// changed.
var (
	batchObject = protocol.NewObject(
		openapi.Schema{Name: "BatchRequest"},
		func(b *batchRequest, s *protocol.Scanner, name string) error {
			value, err := s.Value()
			if err == nil && !protocol.AsksNothing(value) {
				b.warn(name, "has no effect here")
			}
			return err
		},
		protocol.Field[batchRequest]{Name: "prompts", Required: true, Schema: &openapi.Schema{
			Type: openapi.Array, Description: "Answered in parallel, each as a request of its own. The service bounds their number: 1,000 by default.",
			Items: &openapi.Schema{AnyOf: []*openapi.Schema{openapi.Text(""), promptObject.Schema()}},
		}, Read: (*batchRequest).readPrompts},
		protocol.Field[batchRequest]{Name: "model", Schema: openapi.Nullable(openapi.Text("As model_name of /v1/process; absent: auto.")), Read: protocol.ReadString(func(b *batchRequest) *string { return &b.model })},
		protocol.Field[batchRequest]{Name: "system", Schema: openapi.Nullable(openapi.Text("The system prompt of every prompt.")), Read: protocol.ReadText(func(b *batchRequest) *jsontext.Value { return &b.system })},
		protocol.Field[batchRequest]{Name: "max_tokens", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Integer, Minimum: 1, Default: defaultMaxTokens}), Read: protocol.ReadCount(1, func(b *batchRequest) *int64 { return &b.maxTokens })},
		protocol.Field[batchRequest]{Name: "temperature", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Number, Minimum: 0, Maximum: maxTemperature, Default: defaultTemperature}), Read: protocol.ReadNumber(0, maxTemperature, func(b *batchRequest) **float64 { return &b.temperature })},
		protocol.Field[batchRequest]{Name: "timeout", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Number, Minimum: 0, Maximum: maxTimeout, Default: defaultBatchTimeout, Description: "Seconds for the whole batch; what isn't done by then fails."}), Read: protocol.ReadNumber(0, maxTimeout, func(b *batchRequest) **float64 { return &b.timeout })},
		protocol.Field[batchRequest]{Name: "async_processing", Schema: openapi.Nullable(openapi.Flag("Answers 202 with an id at once; GET /v1/batch/{id} gives the results, those that are there so far too.")), Read: protocol.ReadFlag(func(b *batchRequest) *bool { return &b.async })},
		protocol.Field[batchRequest]{Name: "use_cli", Schema: useCLISchema(), Read: protocol.ReadBool(func(b *batchRequest) **bool { return &b.useCLI })},
		protocol.Field[batchRequest]{Name: "project_id", Schema: projectSchema(), Read: protocol.ReadString(func(b *batchRequest) *string { return &b.projectID })},
	)

	promptObject = protocol.NewObject(
		openapi.Schema{Name: "BatchPrompt"},
		func(b *batchRequest, s *protocol.Scanner, name string) error {
			value, err := s.Value()
			if name = "prompts: " + name; err == nil && !protocol.AsksNothing(value) && !slices.Contains(b.warnings, name+": has no effect here") {
				b.warn(name, "has no effect here")
			}
			return err
		},
		protocol.Field[batchRequest]{Name: "prompt", Required: true, Schema: openapi.Text(""), Read: protocol.ReadText(func(b *batchRequest) *jsontext.Value { return &b.read.text })},
		protocol.Field[batchRequest]{Name: "id", Schema: &openapi.Schema{Description: "Given back with the result; absent: the place in the batch, from 0.", AnyOf: []*openapi.Schema{openapi.Text(""), openapi.Int(""), {Type: openapi.Null}}}, Read: readID},
	)
)

func readID(b *batchRequest, s *protocol.Scanner) error {
	id, err := s.Value()
	if err != nil {
		return err
	}
	switch id.Kind() {
	case '"', '0':
		b.read.id = id
	case 'n':
	default:
		return s.Invalid("", "must be a string or a number")
	}
	return nil
}

func (b *batchRequest) readPrompts(s *protocol.Scanner) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	return s.Array(func(int) (err error) {
		b.read = prompt{}
		if s.Kind() == '"' {
			b.read.text, err = s.Text()
		} else {
			err = promptObject.Read(s, b)
		}
		if err == nil && len(protocol.Inner(b.read.text)) == 0 {
			err = s.Invalid("", "must not be empty")
		}
		b.prompts = append(b.prompts, b.read)
		return err
	})
}

func decodeBatch(s *protocol.Scanner) (*batchRequest, error) {
	b := &batchRequest{}
	if err := batchObject.Document(s, b); err != nil {
		return nil, err
	}
	if len(b.prompts) == 0 {
		return nil, s.Invalid("prompts", "must not be empty")
	}
	return b, nil
}

// head writes what the Messages requests of the prompts have in common, for a
// model with the given rules, and gives what the model doesn't take.
func (b *batchRequest) head(model string, rules message.Rules) (head []byte, told warnings, err error) {
	if head, err = appendModel(nil, model); err != nil {
		return nil, nil, err
	}
	head = b.appendGeneration(head, &rules, nil, "", &told)
	if len(protocol.Inner(b.system)) > 0 {
		head = append(append(append(head, `"system":`...), b.system...), ',')
	}
	return append(head, `"messages":[{"role":"user","content":`...), told, nil
}
