package processapi

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

// defaultBatchTimeout bounds a batch that names no timeout of its own, in
// seconds.
const defaultBatchTimeout = 300

// batchRequest is a decoded batch. Its slices share memory with the body.
type batchRequest struct {
	prompts          []prompt
	model, projectID string
	system           jsontext.Value
	timeout          *float64 // seconds
	useCLI           *bool
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

// outcome is what became of one prompt.
type outcome struct {
	answer answer
	result gateway.Result
	err    *apierror.Error // nil where it succeeded
	paid   bool            // it has cost something, or may have
}

func (h *Handler) serveBatch(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	batch, _, err := read(h, w, r, decodeBatch)
	if err != nil {
		return err
	}
	if most := h.options.BatchPrompts; len(batch.prompts) > most {
		return apierror.Invalid("prompts", "prompts: at most %d are allowed, there are %d", most, len(batch.prompts))
	}
	protocol.PreferBackend(call, batch.useCLI)
	// What every prompt has in common is written once.
	model := modelAuto
	if batch.model != "" {
		var mapped bool
		if model, mapped = substitute(h.options.Models, batch.model); mapped {
			batch.warn("model", model+" answers in its place")
		}
	}
	head, told, err := batch.head(model, h.options.Rules(model))
	if err != nil {
		return err
	}
	call.Warnings = slices.Clip(batch.warnings)
	billing(call, batch.projectID)

	seconds := float64(defaultBatchTimeout)
	if batch.timeout != nil && *batch.timeout > 0 {
		seconds = *batch.timeout
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(seconds*float64(time.Second)))
	defer cancel()
	outcomes := h.runBatch(ctx, call, batch, model, head, told)
	if r.Context().Err() != nil {
		return gone(r.Context())
	}
	if !slices.ContainsFunc(outcomes, func(o outcome) bool { return o.err == nil || o.paid }) {
		call.Fail()
	}
	call.Clock.Finish()
	protocol.SetHeader(w.Header(), call)
	return protocol.WriteJSON(w, http.StatusOK, appendBatch(nil, batch.prompts, outcomes))
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

// runBatch answers every prompt, so many at once as the options say. What the
// calls warn of becomes the batch's. Where the service chooses the model (auto),
// and where another one serves a prompt instead, its head is written anew for that.
func (h *Handler) runBatch(ctx context.Context, call *gateway.Call, batch *batchRequest, model string, head []byte, told warnings) []outcome {
	outcomes := make([]outcome, len(batch.prompts))
	common := slices.Clip(call.Warnings)
	var next atomic.Int64
	var mu sync.Mutex // guards call.Warnings and backends
	var backends []string
	var workers sync.WaitGroup
	for range min(h.options.BatchParallel, len(batch.prompts)) {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(batch.prompts) {
					return
				}
				prompt := batch.prompts[i].text
				child := call.Child(call.RequestID + "-" + strconv.Itoa(i+1))
				child.Requested, child.Defaults = batch.model, batch.defaults()
				child.Warnings = slices.Concat(common, told) // a strict call minds them
				child.Rerouted = func() error {
					head, again, err := batch.head(model, h.options.Rules(child.Model))
					if err != nil {
						return err
					}
					child.Warnings = slices.Concat(common, again, child.Warnings[len(common)+len(told):])
					child.Request, err = promptRequest(head, prompt)
					return err
				}
				if model == modelAuto {
					child.Routed = child.Rerouted
				}
				outcomes[i] = h.runPrompt(ctx, child, head, prompt)
				mu.Lock()
				if child.Backend != "" && !slices.Contains(backends, child.Backend) {
					backends = append(backends, child.Backend)
				}
				for _, text := range child.Warnings {
					if !slices.Contains(call.Warnings, text) {
						call.Warn(text)
					}
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	if len(backends) == 1 {
		call.Backend = backends[0]
	}
	return outcomes
}

// promptRequest writes the Messages request of a prompt.
func promptRequest(head []byte, prompt jsontext.Value) (*message.Request, error) {
	body := make([]byte, 0, len(head)+len(prompt)+8)
	return message.ParseRequest(append(append(append(body, head...), prompt...), "}]}"...))
}

// runPrompt answers one prompt. One that comes too late fails without being
// tried.
func (h *Handler) runPrompt(ctx context.Context, call *gateway.Call, head []byte, prompt jsontext.Value) outcome {
	if ctx.Err() != nil {
		return outcome{err: apierror.Wrap(apierror.Timeout, "the batch took longer than allowed", ctx.Err())}
	}
	var err error
	if call.Request, err = promptRequest(head, prompt); err != nil {
		return outcome{err: apierror.From(err)}
	}
	out := &promptWriter{whole: whole{call: call, scanners: &h.scanners}}
	if err := h.serveApart(ctx, call, out); err != nil {
		protocol.Log(ctx, h.log, call.RequestID, err)
		return outcome{err: apierror.From(err), paid: call.Paid()}
	}
	return outcome{answer: out.answer, result: out.result, paid: call.Paid()}
}

// promptWriter keeps an answer for the batch.
type promptWriter struct {
	whole
	result gateway.Result
}

// End implements gateway.EventWriter.
func (p *promptWriter) End(result gateway.Result) error {
	if !p.answered {
		return protocol.ErrForm
	}
	p.result = result
	return nil
}

// appendBatch appends the answer to a batch.
func appendBatch(dst []byte, prompts []prompt, outcomes []outcome) []byte {
	var completed int
	var cost, tokens int64
	for _, o := range outcomes {
		if o.err != nil {
			continue
		}
		completed++
		tokens += o.result.Usage.Total()
		if c := o.result.CostMicroUSD; c != nil {
			cost += *c
		}
	}
	dst = strconv.AppendInt(append(dst, `{"total":`...), int64(len(outcomes)), 10)
	dst = strconv.AppendInt(append(dst, `,"completed":`...), int64(completed), 10)
	dst = strconv.AppendInt(append(dst, `,"failed":`...), int64(len(outcomes)-completed), 10)
	dst = append(dst, `,"results":[`...)
	for i, o := range outcomes {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"id":`...)
		if id := prompts[i].id; id != nil {
			dst = append(dst, id...)
		} else {
			dst = append(strconv.AppendInt(append(dst, '"'), int64(i), 10), '"')
		}
		dst = append(append(dst, `,"prompt":`...), prompts[i].text...)
		if o.err != nil {
			dst = append(dst, `,"status":"failed","content":null,"usage":null,"cost":null,"error":`...)
			dst = append(protocol.AppendText(dst, o.err.Message), '}')
			continue
		}
		dst = append(append(append(dst, `,"status":"completed","content":"`...), o.answer.text...), '"')
		dst = appendUsage(append(dst, `,"usage":`...), o.result.Usage)
		dst = append(appendCost(append(dst, `,"cost":`...), o.result.CostMicroUSD), `,"error":null}`...)
	}
	dst = appendCost(append(dst, `],"total_cost":`...), &cost)
	dst = strconv.AppendInt(append(dst, `,"total_tokens":`...), tokens, 10)
	return append(dst, '}')
}
