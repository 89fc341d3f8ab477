package streamapi

import (
	"net/http"
	"strings"

	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

// Operations documents the endpoint. OpenAPI has no place for the messages of a
// WebSocket: they stand as the content of the upgrade.
func (h *Handler) Operations() []openapi.Operation {
	refused := func(status int, description string) openapi.Response {
		return openapi.Response{Status: status, Description: description, Schema: openapi.Members("StreamRefusal", "", protocol.FlatError(openapi.Always)...)}
	}
	return []openapi.Operation{{
		Method: http.MethodGet, Path: pathStream, ID: "stream", Tag: "Stream",
		Summary: "Chat on a WebSocket, with streamed answers.",
		Description: "An upgrade to a WebSocket (RFC 6455). All messages are JSON objects in text frames. " +
			"The key comes in a header, in the subprotocol `key.` followed by the key beside the subprotocol `claude-api`, " +
			"or as `api_key` in the first message, within 10 seconds.\n\n" +
			"A `chat` is answered by `token` and `thinking` messages and ends with one `done` or `error`. An `agentic_task` is answered by its events as " +
			"`POST /v1/task` streams them, and ends with one `result` or `error`. One of either runs at a time.",
		Public: true, // the key may come later
		Parameters: []openapi.Parameter{{
			Name: "Sec-WebSocket-Protocol", In: "header", Description: "`claude-api`, and `key.` followed by the key.",
			Schema: &openapi.Schema{Type: openapi.String},
		}},
		Responses: []openapi.Response{
			{
				Status: http.StatusSwitchingProtocols, Description: "The WebSocket is open. The schema shows what either side then sends.",
				Schema: &openapi.Schema{Name: "StreamMessages", Type: openapi.Object, Properties: []openapi.Property{
					{Name: "client", Schema: h.table.Schema()},
					{Name: "server", Schema: &openapi.Schema{AnyOf: serverSchemas()}},
				}},
			},
			refused(http.StatusUnauthorized, "The key isn't valid."),
			refused(http.StatusForbidden, "A page of another origin may not connect."),
			refused(http.StatusUpgradeRequired, "The request isn't an upgrade."),
			refused(http.StatusServiceUnavailable, "The service is stopping."),
		},
	}}
}

// serverSchemas are the server's messages.
func serverSchemas() []*openapi.Schema {
	count := &openapi.Schema{Type: openapi.Integer}
	usage := &openapi.Schema{Name: "StreamUsage", Type: openapi.Object, Properties: []openapi.Property{
		{Name: "input_tokens", Schema: count, Required: true},
		{Name: "output_tokens", Schema: count, Required: true},
		{Name: "total_tokens", Schema: &openapi.Schema{Type: openapi.Integer, Description: "Input and output, without the cache."}, Required: true},
		{Name: "cache_read_input_tokens", Schema: count, Required: true},
		{Name: "cache_creation_input_tokens", Schema: count, Required: true},
	}}
	of := func(kind, description string, members ...openapi.Property) *openapi.Schema {
		first := []openapi.Property{
			{Name: "type", Schema: &openapi.Schema{Type: openapi.String, Enum: []string{kind}}, Required: true},
			{Name: "id", Schema: openapi.Text("The client's id, where it gave one.")},
		}
		name := "Stream"
		for word := range strings.SplitSeq(kind, "_") {
			name += string(word[0]-'a'+'A') + word[1:]
		}
		if kind == "error" {
			name = "StreamErrorMessage"
		}
		return &openapi.Schema{Name: name, Type: openapi.Object, Description: description, Properties: append(first, members...)}
	}
	content := openapi.Property{Name: "content", Schema: openapi.Text(""), Required: true}
	requestID := openapi.Property{Name: "request_id", Schema: openapi.Text("As in the log and the ledger.")}
	tool := func(more ...openapi.Property) []openapi.Property {
		return append([]openapi.Property{
			openapi.Always("tool", openapi.Text("The CLI's name of it.")), openapi.Always("tool_use_id", openapi.Text("")),
			openapi.Maybe("parent", openapi.Text("The tool_use_id that started the agent in which it happened.")), openapi.Maybe("agent", openapi.Text("That agent's name.")),
		}, append(more, requestID)...)
	}
	return []*openapi.Schema{
		of("token", "A piece of the answer's text.", content),
		of("thinking", "A piece of the model's thinking; of a task: all of one.", content),
		of("status", "Of a task: it begins.", openapi.Always("status", openapi.Text("starting or running")), openapi.Maybe("task_id", openapi.Text("For the endpoints below /v1/tasks.")), requestID),
		of("text", "Of a task: what the tokens before it were pieces of.", content, requestID),
		of("tool_use", "Of a task: a tool is called.", tool(openapi.Maybe("input", &openapi.Schema{}))...),
		of("tool_result", "Of a task: what it gave.", tool(openapi.Maybe("output", &openapi.Schema{}), openapi.Always("is_error", openapi.Flag("")))...),
		of("approval", "Of a task: it asks whether it may use a tool.", tool(openapi.Always("n", openapi.Int("The question's number.")), openapi.Maybe("input", &openapi.Schema{}), openapi.Always("expires_at", openapi.Text("When it is denied by itself.")))...),
		of("approval_resolved", "Of a task: what was decided.", tool(openapi.Always("n", openapi.Int("")), openapi.Always("decision", openapi.Words("allow", "deny")), openapi.Always("by", openapi.Words("caller", "timeout")), openapi.Maybe("reason", openapi.Text("")))...),
		of("warning", "Of a task.", content, requestID),
		of("result", "The end of a task that succeeded, with all that GET /v1/tasks/{id} gives.", openapi.Always("task_id", openapi.Text("")), openapi.Always("status", openapi.Text("completed")), openapi.Always("result", openapi.Text("The last answer's text.")), requestID),
		of(
			"done", "The end of a chat that succeeded; it has been recorded.",
			openapi.Property{Name: "usage", Schema: usage, Required: true},
			openapi.Property{Name: "cost", Schema: &openapi.Schema{Type: openapi.Number, Description: "In US dollars; null when it isn't known."}, Required: true},
			openapi.Property{Name: "model", Schema: openapi.Text("The model that answered."), Required: true},
			openapi.Property{Name: "stop_reason", Schema: openapi.Text("In the Messages API's words, or null."), Required: true},
			openapi.Property{Name: "finish_reason", Schema: openapi.Text("In OpenAI's words."), Required: true},
			openapi.Property{Name: "backend", Schema: openapi.Text("cli or direct.")},
			openapi.Property{Name: "warnings", Schema: &openapi.Schema{Type: openapi.Array, Items: &openapi.Schema{Type: openapi.String}, Description: "What couldn't be honoured."}},
			requestID,
		),
		of(
			"error", "The end of a chat that failed or was cancelled, or what is wrong with another message.",
			append(
				protocol.FlatError(openapi.Always),
				openapi.Property{Name: "retry_after", Schema: openapi.Int("Seconds after which to try again.")},
				requestID,
			)...,
		),
		of("pong", "The answer to a ping."),
		of("authenticated", "The answer to an auth message whose key is valid."),
	}
}
