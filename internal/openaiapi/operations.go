package openaiapi

import (
	"net/http"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

// Operations documents the endpoint.
func (h *Handler) Operations() []openapi.Operation {
	return []openapi.Operation{{
		Method: http.MethodPost, Path: pathChat, ID: "createChatCompletion", Tag: "Chat",
		Summary: "Answer a conversation, in the form of OpenAI's Chat Completions API.",
		Description: "The official SDKs work unchanged. What can't be honoured is named in the header `X-Claude-Warnings`; " +
			"what would change the shape of the answer is refused.\n\n" +
			"A stream consists of `data:` lines, each with a chunk, and ends with `data: [DONE]`. " +
			"One that fails ends with a `data:` line that holds an error, and without `[DONE]`.",
		Parameters: []openapi.Parameter{protocol.BackendParameter(), protocol.OnceParameter()},
		Request:    requestObject.Schema(),
		Example:    jsontext.Value(`{"model":"sonnet","messages":[{"role":"user","content":"Name three rivers."}]}`),
		Responses: protocol.WithHeaders(true, protocol.OpenAILimits(), slices.Concat([]openapi.Response{
			{Status: http.StatusOK, Description: "The answer.", Schema: completionSchema()},
			{Status: http.StatusOK, ContentType: openapi.EventStream, Schema: chunkSchema()},
			protocol.OpenAIFailure(http.StatusNotImplemented, protocol.NoWork),
		}, protocol.OpenAIFailures(), protocol.OnceFailures())),
	}}
}

func null(description string) *openapi.Schema {
	return &openapi.Schema{Type: openapi.Null, Description: description}
}

// head documents what answers and chunks begin with.
func head(kind string) []openapi.Property {
	return []openapi.Property{
		openapi.Always("id", openapi.Text("")),
		openapi.Always("object", openapi.Words(kind)),
		openapi.Always("created", &openapi.Schema{Type: openapi.Integer, Description: "Seconds since 1970."}),
		openapi.Always("model", openapi.Text("The model that answered.")),
		openapi.Maybe("service_tier", openapi.Text("Where the upstream says it.")),
		openapi.Always("system_fingerprint", null("")),
	}
}

func finishReason() *openapi.Schema {
	return openapi.Words("stop", "length", "tool_calls", "content_filter")
}

func usageSchema() *openapi.Schema {
	return openapi.Members("ChatUsage", "",
		openapi.Always("prompt_tokens", &openapi.Schema{Type: openapi.Integer, Description: "All that the model read, the cache included."}),
		openapi.Always("completion_tokens", openapi.Int("")),
		openapi.Always("total_tokens", openapi.Int("")),
		openapi.Always("prompt_tokens_details", openapi.Members("", "", openapi.Always("cached_tokens", openapi.Int("")))),
		openapi.Always("input_tokens", &openapi.Schema{Type: openapi.Integer, Description: "Without the cache. Not OpenAI's."}),
		openapi.Always("output_tokens", &openapi.Schema{Type: openapi.Integer, Description: "The same as `completion_tokens`. Not OpenAI's."}),
		openapi.Maybe("completion_tokens_details", openapi.Members("", "Where the upstream says it.", openapi.Always("reasoning_tokens", openapi.Int("")))),
	)
}

func completionSchema() *openapi.Schema {
	call := openapi.Members("ChatToolCall", "",
		openapi.Always("id", openapi.Text("")), openapi.Always("type", openapi.Words("function")),
		openapi.Always("function", openapi.Members("", "", openapi.Always("name", openapi.Text("")), openapi.Always("arguments", openapi.Text("A JSON object.")))),
	)
	message := openapi.Members("ChatAnswerMessage", "",
		openapi.Always("role", openapi.Words("assistant")),
		openapi.Always("content", openapi.Nullable(openapi.Text(""))),
		openapi.Always("refusal", openapi.Nullable(openapi.Text("Why the model refused, where it says so."))),
		openapi.Maybe("reasoning_content", openapi.Text("The thinking. Not OpenAI's.")),
		openapi.Maybe("tool_calls", openapi.List(call)),
	)
	choice := openapi.Members("ChatChoice", "",
		openapi.Always("index", openapi.Int("")), openapi.Always("message", message), openapi.Always("logprobs", null("")), openapi.Always("finish_reason", finishReason()),
	)
	return openapi.Members("ChatCompletion", "",
		append(head("chat.completion"),
			openapi.Always("choices", openapi.List(choice)),
			openapi.Always("usage", usageSchema()),
			openapi.Always("content", openapi.Text("The answer's text once more, for callers of this service's predecessor.")),
			openapi.Always("cost", openapi.Nullable(&openapi.Schema{Type: openapi.Number, Description: "In US dollars; null where the price isn't known."})),
			openapi.Always("project_id", openapi.Text("Whom the answer is billed to.")),
			openapi.Maybe("session_id", openapi.Text("The session that has answered, where one was asked.")),
		)...)
}

func chunkSchema() *openapi.Schema {
	call := openapi.Members("ChatChunkToolCall", "",
		openapi.Always("index", openapi.Int("")), openapi.Maybe("id", openapi.Text("In the first chunk of a call.")), openapi.Maybe("type", openapi.Words("function")),
		openapi.Always("function", openapi.Members("", "", openapi.Maybe("name", openapi.Text("")), openapi.Always("arguments", openapi.Text("A part of a JSON object.")))),
	)
	delta := openapi.Members("ChatDelta", "",
		openapi.Maybe("role", openapi.Words("assistant")),
		openapi.Maybe("content", openapi.Text("")),
		openapi.Maybe("refusal", openapi.Nullable(openapi.Text(""))),
		openapi.Maybe("reasoning_content", openapi.Text("A part of the thinking. Not OpenAI's.")),
		openapi.Maybe("tool_calls", openapi.List(call)),
	)
	choice := openapi.Members("ChatChunkChoice", "",
		openapi.Always("index", openapi.Int("")), openapi.Always("delta", delta), openapi.Always("logprobs", null("")), openapi.Always("finish_reason", openapi.Nullable(finishReason())),
	)
	return openapi.Members("ChatCompletionChunk", "",
		append(head("chat.completion.chunk"),
			openapi.Always("choices", openapi.List(choice)),
			openapi.Maybe("usage", openapi.Nullable(usageSchema())),
			openapi.Maybe("session_id", openapi.Text("The session that answers, where one was asked.")),
		)...)
}
