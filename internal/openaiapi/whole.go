package openaiapi

import (
	"net/http"
	"strconv"
	"strings"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// answerID makes the API's form of an answer's id.
func answerID(id string) string { return "chatcmpl-" + strings.TrimPrefix(id, "msg_") }

// wholeWriter translates a whole answer. Beside the API's own fields stand the
// flat ones that this service gave before it spoke the API: content, cost and
// project_id, and input_tokens and output_tokens in usage.
type wholeWriter struct {
	call     *gateway.Call
	scanners *protocol.Scanners
	w        http.ResponseWriter
	created  int64
	unfence  bool
	answer   *protocol.Answer
	sent     bool
}

// Event implements gateway.EventWriter.
func (p *wholeWriter) Event(message.Event) error { return protocol.ErrForm }

// Flush implements gateway.EventWriter.
func (p *wholeWriter) Flush() error { return nil }

// Message implements gateway.EventWriter.
func (p *wholeWriter) Message(body []byte) (err error) {
	scanner := p.scanners.Get(body)
	p.answer, err = protocol.ReadAnswer(scanner, nil)
	p.scanners.Put(scanner)
	if err == nil && p.unfence {
		p.answer.Text = protocol.Unfence(p.answer.Text)
	}
	return err
}

// End implements gateway.EventWriter.
func (p *wholeWriter) End(result gateway.Result) error {
	if p.answer == nil {
		return protocol.ErrForm
	}
	p.sent = true
	body := p.append(make([]byte, 0, 2*len(p.answer.Text)+len(p.answer.Thinking)+1_024), result)
	p.call.Clock.Finish()
	protocol.SetOpenAIHeader(p.w.Header(), p.call)
	return protocol.WriteJSON(p.w, http.StatusOK, body)
}

// Started implements protocol.Encoder.
func (p *wholeWriter) Started() bool { return p.sent }

// Fail implements protocol.Encoder. It does nothing: an answer of a stated length
// can't be taken back.
func (p *wholeWriter) Fail(*apierror.Error) {}

func (p *wholeWriter) append(dst []byte, result gateway.Result) []byte {
	a := p.answer
	dst = protocol.AppendText(append(dst, `{"id":`...), answerID(a.ID))
	dst = strconv.AppendInt(append(dst, `,"object":"chat.completion","created":`...), p.created, 10)
	dst = protocol.AppendText(append(dst, `,"model":`...), a.Model)
	dst = append(appendTier(dst, a.Details.ServiceTier), `,"system_fingerprint":null,"choices":[{"index":0,"message":{"role":"assistant","content":`...)
	if len(a.Text) == 0 && len(a.Tools) > 0 {
		dst = append(dst, "null"...)
	} else {
		dst = appendInner(dst, a.Text)
	}
	dst = append(dst, `,"refusal":`...)
	if a.Refusal != nil {
		dst = append(dst, a.Refusal...)
	} else {
		dst = append(dst, "null"...)
	}
	if len(a.Thinking) > 0 {
		dst = appendInner(append(dst, `,"reasoning_content":`...), a.Thinking)
	}
	if len(a.Tools) > 0 {
		dst = append(dst, `,"tool_calls":[`...)
		for i, call := range a.Tools {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(append(dst, `{"id":`...), call.ID...)
			dst = append(append(dst, `,"type":"function","function":{"name":`...), call.Name...)
			dst = append(protocol.AppendText(append(dst, `,"arguments":`...), string(call.Input)), "}}"...)
		}
		dst = append(dst, ']')
	}
	dst = append(dst, `},"logprobs":null,"finish_reason":"`...)
	dst = append(append(dst, protocol.FinishReason(a.StopReason)...), `"}],"usage":`...)
	dst = appendUsage(dst, result.Usage, a.Details.ThinkingTokens)
	dst = append(dst, `,"content":`...)
	dst = appendInner(dst, a.Text)
	dst = append(dst, `,"cost":`...)
	if result.CostMicroUSD != nil {
		dst = strconv.AppendFloat(dst, float64(*result.CostMicroUSD)/1e6, 'f', -1, 64)
	} else {
		dst = append(dst, "null"...)
	}
	dst = protocol.AppendText(append(dst, `,"project_id":`...), p.call.Caller.ProjectID)
	dst = appendSession(dst, p.call)
	return append(dst, '}')
}

// appendInner puts back the quotes around the inside of a JSON string.
func appendInner(dst, inner []byte) []byte {
	return append(append(append(dst, '"'), inner...), '"')
}

// appendSession appends which session has answered, where one has.
func appendSession(dst []byte, call *gateway.Call) []byte {
	if call.Work == nil || call.Work.Session == "" {
		return dst
	}
	return protocol.AppendText(append(dst, `,"session_id":`...), call.Work.Session)
}

// appendTier appends the service tier where the upstream says under which it
// answered, in OpenAI's words.
func appendTier(dst []byte, tier string) []byte {
	switch tier {
	case "":
		return dst
	case "standard":
		tier = "default"
	}
	return protocol.AppendText(append(dst, `,"service_tier":`...), tier)
}

// appendUsage appends the token counts. prompt_tokens is everything that the
// model read; input_tokens leaves out the cache, as in the Messages API. How many
// tokens went into thinking stands there only where the upstream says it.
func appendUsage(dst []byte, u message.Usage, thinking *int64) []byte {
	for _, field := range [...]struct {
		name  string
		value int64
	}{
		{`{"prompt_tokens":`, u.Prompt()},
		{`,"completion_tokens":`, u.OutputTokens},
		{`,"total_tokens":`, u.Prompt() + u.OutputTokens},
		{`,"prompt_tokens_details":{"cached_tokens":`, u.CacheReadInputTokens},
		{`},"input_tokens":`, u.InputTokens},
		{`,"output_tokens":`, u.OutputTokens},
	} {
		dst = strconv.AppendInt(append(dst, field.name...), field.value, 10)
	}
	if thinking != nil {
		dst = strconv.AppendInt(append(dst, `,"completion_tokens_details":{"reasoning_tokens":`...), *thinking, 10)
		dst = append(dst, '}')
	}
	return append(dst, '}')
}
