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

// outcome is what became of one prompt.
type outcome struct {
	answer answer
	result gateway.Result
	err    *apierror.Error // nil where it succeeded
	paid   bool            // it has cost something, or may have
}

// work is a batch that is ready to run.
type work struct {
	*batchRequest
	call  *gateway.Call
	model string // of every prompt
	head  []byte // what the Messages requests have in common
	told  warnings
	// timeout is for the whole batch.
	timeout time.Duration
	// known says which prompts needn't be asked any more; nil: none.
	known map[int]bool
	// done hears of each prompt's end, one at a time; nil: nobody listens.
	done func(i int, o outcome)
	// waits says that a prompt waits for the key's limits instead of failing at them.
	waits bool
}

func (h *Handler) serveBatch(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	batch, body, err := read(h, w, r, decodeBatch)
	if err != nil {
		return err
	}
	if most := h.options.BatchPrompts; len(batch.prompts) > most {
		return apierror.Invalid("prompts", "prompts: at most %d are allowed, there are %d", most, len(batch.prompts))
	}
	b, err := h.prepareBatch(call, batch, defaultBatchTimeout*time.Second)
	if err != nil {
		return err
	}
	if batch.async {
		return h.serveBatchAsync(w, r, call, body)
	}
	ctx, cancel := context.WithTimeout(r.Context(), b.timeout)
	defer cancel()
	outcomes := h.runBatch(ctx, b)
	if r.Context().Err() != nil {
		return gone(r.Context())
	}
	if !slices.ContainsFunc(outcomes, func(o outcome) bool { return o.err == nil || o.paid }) {
		call.Fail()
	}
	call.Clock.Finish()
	protocol.SetHeader(w.Header(), call)
	results := results{Total: len(outcomes)}
	for i, o := range outcomes {
		results.Prompts = append(results.Prompts, resultOf(i, batch.prompts[i], o))
	}
	return protocol.WriteJSON(w, http.StatusOK, results.append(nil))
}

// prepareBatch reads what of a batch its prompts have in common.
func (h *Handler) prepareBatch(call *gateway.Call, batch *batchRequest, timeout time.Duration) (*work, error) {
	protocol.PreferBackend(call, batch.useCLI)
	b := &work{batchRequest: batch, call: call, model: modelAuto, timeout: timeout}
	if batch.model != "" {
		var mapped bool
		if b.model, mapped = substitute(h.options.Models, batch.model); mapped {
			batch.warn("model", b.model+" answers in its place")
		}
	}
	var err error
	if b.head, b.told, err = batch.head(b.model, h.options.Rules(b.model)); err != nil {
		return nil, err
	}
	call.Warnings = slices.Clip(batch.warnings)
	billing(call, batch.projectID)
	if seconds := batch.timeout; seconds != nil && *seconds > 0 {
		b.timeout = time.Duration(*seconds * float64(time.Second))
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

// runBatch answers every prompt that isn't known, so many at once as the options say. What the
// calls warn of becomes the batch's. Where the service chooses the model (auto),
// and where another one serves a prompt instead, its head is written anew for that.
func (h *Handler) runBatch(ctx context.Context, b *work) []outcome {
	outcomes := make([]outcome, len(b.prompts))
	common := slices.Clip(b.call.Warnings)
	var next atomic.Int64
	var mu sync.Mutex // guards b.call.Warnings and backends, and lets one done through
	var backends []string
	var workers sync.WaitGroup
	for range min(h.options.BatchParallel, len(b.prompts)) {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(b.prompts) {
					return
				}
				if b.known[i] {
					continue
				}
				var child *gateway.Call
				child, outcomes[i] = h.runPrompt(ctx, b, i, common)
				mu.Lock()
				if child.Backend != "" && !slices.Contains(backends, child.Backend) {
					backends = append(backends, child.Backend)
				}
				for _, text := range child.Warnings {
					if !slices.Contains(b.call.Warnings, text) {
						b.call.Warn(text)
					}
				}
				if b.done != nil {
					b.done(i, outcomes[i])
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	if len(backends) == 1 {
		b.call.Backend = backends[0]
	}
	return outcomes
}

// child makes the call of a prompt.
func (h *Handler) child(b *work, i int, common warnings) *gateway.Call {
	child := b.call.Child(b.call.RequestID + "-" + strconv.Itoa(i+1))
	child.Requested, child.Defaults = b.batchRequest.model, b.defaults()
	child.Warnings = slices.Concat(common, b.told) // a strict call minds them
	child.Rerouted = func() error {
		head, again, err := b.batchRequest.head(b.model, h.options.Rules(child.Model))
		if err != nil {
			return err
		}
		child.Warnings = slices.Concat(common, again, child.Warnings[len(common)+len(b.told):])
		child.Request, err = promptRequest(head, b.prompts[i].text)
		return err
	}
	if b.model == modelAuto {
		child.Routed = child.Rerouted
	}
	return child
}

// promptRequest writes the Messages request of a prompt.
func promptRequest(head []byte, prompt jsontext.Value) (*message.Request, error) {
	body := make([]byte, 0, len(head)+len(prompt)+8)
	return message.ParseRequest(append(append(append(body, head...), prompt...), "}]}"...))
}

// runPrompt answers one prompt, and gives the call that did. One that comes too late
// fails without being tried.
func (h *Handler) runPrompt(ctx context.Context, b *work, i int, common warnings) (*gateway.Call, outcome) {
	for {
		call, begun := h.child(b, i, common), false
		call.Admitted = func() error { begun = true; return nil }
		o := h.tryPrompt(ctx, b, call, b.prompts[i].text)
		wait, limited := limitedFor(o.err)
		if !b.waits || begun || !limited {
			return call, o
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

func (h *Handler) tryPrompt(ctx context.Context, b *work, call *gateway.Call, prompt jsontext.Value) outcome {
	if ctx.Err() != nil {
		return outcome{err: apierror.Wrap(apierror.Timeout, "the batch took longer than allowed", ctx.Err())}
	}
	var err error
	if call.Request, err = promptRequest(b.head, prompt); err != nil {
		return outcome{err: apierror.From(err)}
	}
	g := h.gateway
	if b.waits {
		g = untoldOf(g)
	}
	out := &promptWriter{whole: whole{call: call, scanners: &h.scanners}}
	if err := serveApart(ctx, g, call, out); err != nil {
		if _, limited := limitedFor(apierror.From(err)); !b.waits || !limited {
			protocol.Log(ctx, h.log, call.RequestID, err)
		}
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

// results are those of a batch so far, as a job keeps them too.
type results struct {
	Total   int      `json:"total"`
	Prompts []result `json:"prompts"`
}

// result is what a batch tells of one prompt.
type result struct {
	Place  int            `json:"place"` // in the batch, from 0
	Failed bool           `json:"failed,omitzero"`
	Tokens int64          `json:"tokens,omitzero"`
	Cost   int64          `json:"cost,omitzero"` // in millionths of a US dollar; 0 where it isn't known
	Told   jsontext.Value `json:"told"`
}

func resultOf(i int, p prompt, o outcome) result {
	r := result{Place: i, Failed: o.err != nil}
	dst := []byte(`{"id":`)
	if p.id != nil {
		dst = append(dst, p.id...)
	} else {
		dst = append(strconv.AppendInt(append(dst, '"'), int64(i), 10), '"')
	}
	dst = append(append(dst, `,"prompt":`...), p.text...)
	if r.Failed {
		dst = append(dst, `,"status":"failed","content":null,"usage":null,"cost":null,"error":`...)
		r.Told = append(protocol.AppendText(dst, o.err.Message), '}')
		return r
	}
	r.Tokens = o.result.Usage.Total()
	if c := o.result.CostMicroUSD; c != nil {
		r.Cost = *c
	}
	dst = append(append(append(dst, `,"status":"completed","content":"`...), o.answer.text...), '"')
	dst = appendUsage(append(dst, `,"usage":`...), o.result.Usage)
	r.Told = append(appendCost(append(dst, `,"cost":`...), o.result.CostMicroUSD), `,"error":null}`...)
	return r
}

// append appends the answer to a batch.
func (r *results) append(dst []byte) []byte {
	var completed int
	var cost, tokens int64
	for _, p := range r.Prompts {
		if !p.Failed {
			completed++
		}
		tokens += p.Tokens
		cost += p.Cost
	}
	dst = strconv.AppendInt(append(dst, `{"total":`...), int64(r.Total), 10)
	dst = strconv.AppendInt(append(dst, `,"completed":`...), int64(completed), 10)
	dst = strconv.AppendInt(append(dst, `,"failed":`...), int64(len(r.Prompts)-completed), 10)
	dst = append(dst, `,"results":[`...)
	for i, p := range r.Prompts {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, p.Told...)
	}
	dst = appendCost(append(dst, `],"total_cost":`...), &cost)
	dst = strconv.AppendInt(append(dst, `,"total_tokens":`...), tokens, 10)
	return append(dst, '}')
}
