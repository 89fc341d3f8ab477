package processapi

import (
	"net/http"
	"strconv"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// asked is what an answer repeats of its request.
type asked struct {
	provider, model string
	mappedTo        string // the model that stands for another vendor's, or ""
	json            bool   // a code fence around the answer is taken off
}

// answer is what this endpoint tells of an answer.
type answer struct {
	model, stopReason string
	text              []byte // the inside of a JSON string
	blocks            []byte // the content array; nil where it is nothing but text
}

// readAnswer cuts a whole answer of the Messages API into its parts.
func readAnswer(scanners *protocol.Scanners, body []byte) (answer, error) {
	scanner := scanners.Get(body)
	defer scanners.Put(scanner)
	whole, err := protocol.ReadAnswer(scanner, nil)
	if err != nil {
		return answer{}, err
	}
	a := answer{model: whole.Model, stopReason: whole.StopReason, text: whole.Text}
	if !whole.TextOnly {
		a.blocks = whole.Blocks
	}
	return a, nil
}

// append appends the members of an answer, without braces.
func (k *asked) append(dst []byte, a *answer, call *gateway.Call, result gateway.Result) []byte {
	dst = append(append(append(dst, `"content":"`...), a.text...), '"')
	if a.blocks != nil {
		dst = append(append(dst, `,"content_blocks":`...), a.blocks...)
	}
	dst = protocol.AppendText(append(dst, `,"model":`...), k.model)
	dst = protocol.AppendText(append(dst, `,"provider":`...), k.provider)
	dst = protocol.AppendText(append(dst, `,"metadata":{"actual_model":`...), a.model)
	dst = appendUsage(append(dst, `,"usage":`...), result.Usage)
	dst = appendCost(append(dst, `,"cost_usd":`...), result.CostMicroUSD)
	total, _ := call.Clock.Took(latency.Total)
	dst = strconv.AppendFloat(append(dst, `,"processing_time":`...), total.Seconds(), 'f', 6, 64)
	dst = protocol.AppendText(append(dst, `,"finish_reason":`...), protocol.FinishReason(a.stopReason))
	if k.mappedTo != "" {
		dst = protocol.AppendText(append(dst, `,"mapped_from":`...),
			k.provider+":"+k.model+" → "+ourProvider(call.Backend)+":"+k.mappedTo)
	}
	if len(call.Warnings) > 0 {
		dst = append(dst, `,"warnings":[`...)
		for i, text := range call.Warnings {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = protocol.AppendText(dst, text)
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// ourProvider gives a backend's name among the providers of this service.
func ourProvider(backend string) string {
	if backend == gateway.BackendDirect {
		return ProviderAnthropic
	}
	return ProviderClaudeCode
}

// appendUsage appends the token counts; total_tokens is what budgets count.
func appendUsage(dst []byte, u message.Usage) []byte {
	for _, field := range [...]struct {
		name  string
		value int64
	}{
		{`{"input_tokens":`, u.InputTokens},
		{`,"output_tokens":`, u.OutputTokens},
		{`,"total_tokens":`, u.Total()},
		{`,"cache_read_input_tokens":`, u.CacheReadInputTokens},
		{`,"cache_creation_input_tokens":`, u.CacheCreationInputTokens},
	} {
		dst = strconv.AppendInt(append(dst, field.name...), field.value, 10)
	}
	return append(dst, '}')
}

// appendCost appends a price in US dollars, null where it isn't known.
func appendCost(dst []byte, microUSD *int64) []byte {
	if microUSD == nil {
		return append(dst, "null"...)
	}
	return strconv.AppendFloat(dst, float64(*microUSD)/1e6, 'f', -1, 64)
}

// whole is an EventWriter that keeps a whole answer. What becomes of it at the
// end is the embedding writer's.
type whole struct {
	call     *gateway.Call
	asked    asked
	scanners *protocol.Scanners
	answer   answer
	answered bool
}

// Event implements gateway.EventWriter.
func (w *whole) Event(message.Event) error { return protocol.ErrForm }

// Flush implements gateway.EventWriter.
func (w *whole) Flush() error { return nil }

// Message implements gateway.EventWriter.
func (w *whole) Message(body []byte) (err error) {
	w.answer, err = readAnswer(w.scanners, body)
	w.answered = err == nil
	if w.asked.json {
		w.answer.text = protocol.Unfence(w.answer.text)
	}
	return err
}

// document gives the answer as this endpoint writes it.
func (w *whole) document(result gateway.Result) ([]byte, error) {
	if !w.answered {
		return nil, protocol.ErrForm
	}
	w.call.Clock.Finish()
	dst := append(make([]byte, 0, len(w.answer.text)+len(w.answer.blocks)+1_024), '{')
	return append(w.asked.append(dst, &w.answer, w.call, result), '}'), nil
}

// plainWriter sends a whole answer.
type plainWriter struct {
	whole
	w    http.ResponseWriter
	sent bool
}

// End implements gateway.EventWriter.
func (p *plainWriter) End(result gateway.Result) error {
	body, err := p.document(result)
	if err != nil {
		return err
	}
	p.sent = true
	protocol.SetHeader(p.w.Header(), p.call)
	return protocol.WriteJSON(p.w, http.StatusOK, body)
}

// Started implements protocol.Encoder.
func (p *plainWriter) Started() bool { return p.sent }

// Fail implements protocol.Encoder. It does nothing: an answer of a stated length
// can't be taken back.
func (p *plainWriter) Fail(*apierror.Error) {}
