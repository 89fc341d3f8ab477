package processapi

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// errKind says that a backend answered with a stream.
var errKind = errors.New("the backend answered in the wrong form")

// writer translates a whole answer.
type writer struct {
	call            *gateway.Call
	scanners        *protocol.Scanners
	w               http.ResponseWriter
	provider, model string // as asked
	mappedTo        string // the model that stands for another vendor's, or ""
	answer          *protocol.Answer
	sent            bool
}

// Event implements gateway.EventWriter.
func (p *writer) Event(message.Event) error { return errKind }

// Flush implements gateway.EventWriter.
func (p *writer) Flush() error { return nil }

// Message implements gateway.EventWriter.
func (p *writer) Message(body []byte) (err error) {
	scanner := p.scanners.Get(body)
	p.answer, err = protocol.ReadAnswer(scanner)
	p.scanners.Put(scanner)
	return err
}

// End implements gateway.EventWriter.
func (p *writer) End(result gateway.Result) error {
	if p.answer == nil {
		return errKind
	}
	p.sent = true
	p.call.Clock.Finish()
	protocol.SetHeader(p.w.Header(), p.call)
	return protocol.WriteJSON(p.w, http.StatusOK, p.append(make([]byte, 0, len(p.answer.Text)+1_024), result))
}

func (p *writer) append(dst []byte, result gateway.Result) []byte {
	a := p.answer
	dst = append(append(append(dst, `{"content":"`...), a.Text...), '"')
	if !a.TextOnly {
		dst = append(append(dst, `,"content_blocks":`...), a.Blocks...)
	}
	dst = appendText(append(dst, `,"model":`...), p.model)
	dst = appendText(append(dst, `,"provider":`...), p.provider)
	dst = appendText(append(dst, `,"metadata":{"actual_model":`...), a.Model)
	dst = appendUsage(append(dst, `,"usage":`...), result.Usage)
	dst = append(dst, `,"cost_usd":`...)
	if result.CostMicroUSD != nil {
		dst = strconv.AppendFloat(dst, float64(*result.CostMicroUSD)/1e6, 'f', -1, 64)
	} else {
		dst = append(dst, "null"...)
	}
	total, _ := p.call.Clock.Took(latency.Total)
	dst = strconv.AppendFloat(append(dst, `,"processing_time":`...), total.Seconds(), 'f', 6, 64)
	dst = appendText(append(dst, `,"finish_reason":`...), protocol.FinishReason(a.StopReason))
	if p.mappedTo != "" {
		dst = appendText(append(dst, `,"mapped_from":`...),
			p.provider+":"+p.model+" → "+ourProvider(p.call.Backend)+":"+p.mappedTo)
	}
	if len(p.call.Warnings) > 0 {
		dst = append(dst, `,"warnings":[`...)
		for i, text := range p.call.Warnings {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendText(dst, text)
		}
		dst = append(dst, ']')
	}
	return append(dst, "}}"...)
}

// ourProvider gives a backend's name among the providers of this endpoint.
func ourProvider(backend string) string {
	if backend == gateway.BackendDirect {
		return "anthropic"
	}
	return "claudecode"
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

// appendText appends a JSON string. Invalid UTF-8 becomes U+FFFD.
func appendText(dst []byte, text string) []byte {
	dst, _ = jsontext.AppendQuote(dst, text)
	return dst
}
