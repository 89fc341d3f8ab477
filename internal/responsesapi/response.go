package responsesapi

import (
	"crypto/rand"
	"encoding/hex"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// The ids of responses: a prefix, and random bytes in hex.
const (
	responsePrefix = "resp_"
	idLength       = 48
)

func newID() string {
	var random [idLength / 2]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	var id [idLength]byte
	hex.Encode(id[:], random[:])
	return string(id[:])
}

// response is one answer on its way to the caller and into the archive.
type response struct {
	request *request
	id      string // without its prefix
	created int64  // seconds since 1970
	model   string // that answered
	inputs  int    // how many items of the request's own stand before the output
	items   []outItem
	details protocol.UsageDetails
	unfence bool           // a code fence around a text is to be taken off
	refusal jsontext.Value // why the model refused, nil where it doesn't say
}

// add appends an item and gives it its id.
func (r *response) add(it outItem) *outItem {
	it.id = itemID(it.kind, r.id, r.inputs+len(r.items))
	r.items = append(r.items, it)
	return &r.items[len(r.items)-1]
}

// statusOf gives a response's status for a stop reason of the Messages API, and
// why it is incomplete.
func statusOf(stopReason string) (status, reason string) {
	switch stopReason {
	case message.StopMaxTokens, "model_context_window_exceeded":
		return statusIncomplete, "max_output_tokens"
	case message.StopRefusal:
		return statusIncomplete, "content_filter"
	}
	return statusCompleted, ""
}

// finish gives the items that have none a status: of an incomplete response the
// last item is the one that was cut off.
func (r *response) finish(status string) {
	for i := range r.items {
		it := &r.items[i]
		it.complete()
		switch {
		case it.status != "":
		case i == len(r.items)-1:
			it.status = status
		default:
			it.status = statusCompleted
		}
	}
}

// refused gives the item that says why the model refused; not ok where it didn't
// or doesn't say.
func (r *response) refused(stopReason string) (it outItem, ok bool) {
	if stopReason != message.StopRefusal || len(protocol.Inner(r.refusal)) == 0 {
		return outItem{}, false
	}
	return outItem{kind: kindMessage, refusal: true, text: append([]byte(nil), protocol.Inner(r.refusal)...)}, true
}

// state is what changes of a response while it is made.
type state struct {
	status string
	reason string          // of incomplete_details
	failed *apierror.Error // of error
	usage  message.Usage   // where it has ended
	// now is the second in which it was completed.
	now int64
}

// append appends the response object. Output is in it unless it is in progress.
func (r *response) append(dst []byte, s state) []byte {
	c := r.request
	dst = append(append(append(dst, `{"id":"`...), responsePrefix...), r.id...)
	dst = strconv.AppendInt(append(dst, `","object":"response","created_at":`...), r.created, 10)
	dst = append(append(append(dst, `,"status":"`...), s.status...), `","background":false,"completed_at":`...)
	if s.status == statusCompleted {
		dst = strconv.AppendInt(dst, s.now, 10)
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(dst, `,"error":`...)
	if s.failed != nil {
		dst = protocol.AppendText(append(dst, `{"code":`...), errorCode(s.failed))
		dst = append(protocol.AppendText(append(dst, `,"message":`...), s.failed.Message), '}')
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(dst, `,"incomplete_details":`...)
	if s.reason != "" {
		dst = append(protocol.AppendText(append(dst, `{"reason":`...), s.reason), '}')
	} else {
		dst = append(dst, "null"...)
	}
	dst = orNull(append(dst, `,"instructions":`...), c.instructions)
	dst = append(dst, `,"max_output_tokens":`...)
	if c.maxTokens > 0 {
		dst = strconv.AppendInt(dst, c.maxTokens, 10)
	} else {
		dst = append(dst, "null"...)
	}
	dst = protocol.AppendText(append(dst, `,"max_tool_calls":null,"model":`...), r.model)
	dst = append(dst, `,"output":[`...)
	if s.status != statusInProgress {
		dst = r.appendOutput(dst, c.encrypted)
	}
	dst = append(dst, ']')
	dst = r.appendEcho(dst)
	dst = append(dst, `,"usage":`...)
	if s.status == statusCompleted || s.status == statusIncomplete {
		dst = r.appendUsage(dst, s.usage)
	} else {
		dst = append(dst, "null"...)
	}
	return append(dst, '}')
}

// appendOutput appends the finished items.
func (r *response) appendOutput(dst []byte, encrypted bool) []byte {
	for i := range r.items {
		if i > 0 {
			dst = append(dst, ',')
		}
		status := r.items[i].status
		if status == "" {
			status = statusIncomplete
		}
		dst = r.items[i].append(dst, status, encrypted)
	}
	return dst
}

// appendEcho appends what the response says of its request.
func (r *response) appendEcho(dst []byte) []byte {
	c := r.request
	dst = strconv.AppendBool(append(dst, `,"parallel_tool_calls":`...), c.parallel == nil || *c.parallel)
	dst = protocol.AppendTextOrNull(append(dst, `,"previous_response_id":`...), c.previous)
	dst = protocol.AppendTextOrNull(append(dst, `,"reasoning":{"effort":`...), c.effort)
	dst = protocol.AppendTextOrNull(append(dst, `,"summary":`...), c.summary)
	dst = strconv.AppendBool(append(dst, `},"store":`...), c.stored())
	dst = appendFloat(append(dst, `,"temperature":`...), c.sampling.Temperature)
	dst = append(dst, `,"text":{"format":`...)
	if c.format.raw != nil {
		dst = append(dst, oneLine(c.format.raw)...)
	} else {
		dst = append(dst, `{"type":"text"}`...)
	}
	dst = append(dst, `},"tool_choice":`...)
	if c.choice.raw != nil {
		dst = append(dst, oneLine(c.choice.raw)...)
	} else {
		dst = append(dst, `"auto"`...)
	}
	dst = append(dst, `,"tools":`...)
	if c.rawTools != nil {
		dst = append(dst, oneLine(c.rawTools)...)
	} else {
		dst = append(dst, "[]"...)
	}
	dst = appendFloat(append(dst, `,"top_logprobs":0,"top_p":`...), c.sampling.TopP)
	dst = append(dst, `,"truncation":`...)
	if c.truncation != nil {
		dst = append(dst, c.truncation...)
	} else {
		dst = append(dst, `"disabled"`...)
	}
	dst = append(dst, `,"service_tier":"default"`...)
	dst = orNull(append(dst, `,"user":`...), c.user)
	dst = orNull(append(dst, `,"safety_identifier":`...), c.safety)
	dst = orNull(append(dst, `,"prompt_cache_key":`...), c.cacheKey)
	dst = append(dst, `,"metadata":`...)
	if c.rawMeta != nil {
		return append(dst, oneLine(c.rawMeta)...)
	}
	return append(dst, "{}"...)
}

func orNull(dst []byte, value jsontext.Value) []byte {
	if value == nil {
		return append(dst, "null"...)
	}
	return append(dst, value...)
}

// appendFloat appends a number of sampling; absent it is 1, the default.
func appendFloat(dst []byte, n *float64) []byte {
	if n == nil {
		return append(dst, '1')
	}
	return strconv.AppendFloat(dst, *n, 'g', -1, 64)
}

// appendUsage appends the token counts. input_tokens is everything that the model
// read.
func (r *response) appendUsage(dst []byte, u message.Usage) []byte {
	var thinking int64
	if r.details.ThinkingTokens != nil {
		thinking = *r.details.ThinkingTokens
	}
	for _, field := range [...]struct {
		name  string
		value int64
	}{
		{`{"input_tokens":`, u.Prompt()},
		{`,"input_tokens_details":{"cached_tokens":`, u.CacheReadInputTokens},
		{`,"cache_write_tokens":`, u.CacheCreationInputTokens},
		{`},"output_tokens":`, u.OutputTokens},
		{`,"output_tokens_details":{"reasoning_tokens":`, thinking},
		{`},"total_tokens":`, u.Prompt() + u.OutputTokens},
	} {
		dst = strconv.AppendInt(append(dst, field.name...), field.value, 10)
	}
	return append(dst, '}')
}

// errorCode gives the code of a failed response's error, which is of a closed set
// (openai-go v3, ResponseErrorCode).
func errorCode(e *apierror.Error) string {
	switch e.Category {
	case apierror.RateLimited, apierror.BudgetExceeded:
		return "rate_limit_exceeded"
	case apierror.BadRequest:
		return "invalid_prompt"
	}
	return "server_error"
}

// ended makes the state of an answer that came whole.
func (r *response) ended(result *gateway.Result, now int64) state {
	if it, ok := r.refused(result.StopReason); ok {
		r.add(it)
	}
	status, reason := statusOf(result.StopReason)
	r.finish(status)
	return state{status: status, reason: reason, usage: result.Usage, now: now}
}
