package meter

import (
	"context"
	"log/slog"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
)

// roomForAnswer is what a call should have left for its answer at least, in tokens,
// before its input is counted.
const roomForAnswer = 4_096

// tight says that a budget refused a call, or left its answer little.
func tight(call *gateway.Call, err error) bool {
	if err != nil {
		return apierror.From(err).Category == apierror.BudgetExceeded
	}
	return call.MaxTokens > 0 && call.MaxTokens < min(call.Request.MaxTokens, roomForAnswer)
}

// counted are the members of a request that count_tokens takes; uncounted are those
// that have no part in the input. Of a request with any other no count is asked.
var (
	counted   = []string{"messages", "model", "system", "tools", "tool_choice", "thinking", "cache_control", "context_management", "output_config", "output_format", "speed"}
	uncounted = []string{"max_tokens", "stream", "metadata", "temperature", "top_p", "top_k", "stop_sequences", "service_tier", "inference_geo"}
)

// count asks the upstream how many tokens a call's input has, which costs nothing; 0:
// that can't be had.
func (r *run) count(ctx context.Context, call *gateway.Call) int64 {
	if call.CountOnly {
		return 0
	}
	request, err := countable(call.Request)
	if err != nil || request == nil {
		return 0
	}
	asking := &gateway.Call{
		RequestID: call.RequestID, Request: request, CountOnly: true, Forward: call.Forward, Query: call.Query, Caller: call.Caller,
		Model: call.Model, Clock: latency.Start(),
	}
	backend, err := r.walk.Router.Route(asking)
	if err != nil {
		return 0
	}
	var answer tokens
	if _, err := backend.Generate(ctx, asking, &answer); err != nil {
		r.log.LogAttrs(ctx, slog.LevelDebug, "count a call's input", slog.String("request_id", call.RequestID), slog.Any("error", err))
		return 0
	}
	return answer.Input
}

// countable makes a request of which the upstream counts the input; nil: there may be
// more in it than is counted.
func countable(request *message.Request) (*message.Request, error) {
	if _, unbounded := request.Elsewhere(); unbounded {
		return nil, nil
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(request.Body(), &members); err != nil {
		return nil, err
	}
	for name := range members {
		switch {
		case slices.Contains(uncounted, name):
			delete(members, name)
		case !slices.Contains(counted, name):
			return nil, nil
		}
	}
	body, err := json.Marshal(members, json.Deterministic(true))
	if err != nil {
		return nil, err
	}
	return message.ParseRequest(body)
}

// tokens takes a count.
type tokens struct {
	Input int64 `json:"input_tokens"`
}

var _ gateway.EventWriter = (*tokens)(nil)

// Event implements gateway.EventWriter.
func (t *tokens) Event(message.Event) error { return nil }

// Flush implements gateway.EventWriter.
func (t *tokens) Flush() error { return nil }

// Message implements gateway.EventWriter.
func (t *tokens) Message(body []byte) error { return json.Unmarshal(body, t) }

// End implements gateway.EventWriter.
func (t *tokens) End(gateway.Result) error { return nil }
