package openaiapi

import (
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

// Operations documents the endpoint.
func (h *Handler) Operations() []openapi.Operation {
	failure := errorSchema()
	failed := func(status int, description string) openapi.Response {
		return openapi.Response{Status: status, Description: description, Schema: failure}
	}
	return []openapi.Operation{{
		Method: http.MethodPost, Path: pathChat, ID: "createChatCompletion", Tag: "Chat",
		Summary: "Answer a conversation, in the form of OpenAI's Chat Completions API.",
		Description: "The official SDKs work unchanged. What can't be honoured is named in the header `X-Claude-Warnings`; " +
			"what would change the shape of the answer is refused.\n\n" +
			"A stream consists of `data:` lines, each with a chunk, and ends with `data: [DONE]`. " +
			"One that fails ends with a `data:` line that holds an error, and without `[DONE]`.",
		Parameters: []openapi.Parameter{{
			Name: protocol.HeaderBackend, In: "header", Description: "Which backend is to answer; wins over `use_cli`. Absent: the configured default.",
			Schema: &openapi.Schema{Type: openapi.String, Enum: []string{"cli", "direct"}},
		}},
		Request: requestObject.Schema(),
		Example: jsontext.Value(`{"model":"sonnet","messages":[{"role":"user","content":"Name three rivers."}]}`),
		Responses: []openapi.Response{
			{Status: http.StatusOK, Description: "The answer.", Schema: completionSchema()},
			{Status: http.StatusOK, ContentType: openapi.EventStream, Schema: chunkSchema()},
			failed(http.StatusBadRequest, "The request is at fault; `param` names the member."),
			failed(http.StatusUnauthorized, "The key isn't valid."),
			failed(http.StatusForbidden, "The key doesn't allow it."),
			failed(http.StatusNotFound, "There is no such model."),
			failed(http.StatusRequestEntityTooLarge, "The body is too large."),
			failed(http.StatusTooManyRequests, "A limit is reached (`Retry-After`), or a budget is spent (`x-should-retry: false`)."),
			failed(http.StatusInternalServerError, "A fault of this service."),
			failed(http.StatusBadGateway, "The backend failed."),
			failed(http.StatusServiceUnavailable, "There is no room at the moment (`Retry-After`)."),
			failed(http.StatusGatewayTimeout, "The request took longer than its `timeout`, or the backend too long."),
		},
	}}
}

func orNull(schema *openapi.Schema) *openapi.Schema {
	return &openapi.Schema{AnyOf: []*openapi.Schema{schema, {Type: openapi.Null}}}
}

func null(description string) *openapi.Schema {
	return &openapi.Schema{Type: openapi.Null, Description: description}
}

func word(words ...string) *openapi.Schema {
	return &openapi.Schema{Type: openapi.String, Enum: words}
}

func number() *openapi.Schema { return &openapi.Schema{Type: openapi.Integer} }

// always and maybe make members of an answer.
func always(name string, schema *openapi.Schema) openapi.Property {
	return openapi.Property{Name: name, Schema: schema, Required: true}
}

func maybe(name string, schema *openapi.Schema) openapi.Property {
	return openapi.Property{Name: name, Schema: schema}
}

func object(name, description string, properties ...openapi.Property) *openapi.Schema {
	return &openapi.Schema{Name: name, Type: openapi.Object, Description: description, Properties: properties}
}

func array(items *openapi.Schema) *openapi.Schema {
	return &openapi.Schema{Type: openapi.Array, Items: items}
}

// head documents what answers and chunks begin with.
func head(kind string) []openapi.Property {
	return []openapi.Property{
		always("id", text("")),
		always("object", word(kind)),
		always("created", &openapi.Schema{Type: openapi.Integer, Description: "Seconds since 1970."}),
		always("model", text("The model that answered.")),
		maybe("service_tier", text("Where the upstream says it.")),
		always("system_fingerprint", null("")),
	}
}

func finishReason() *openapi.Schema {
	return word("stop", "length", "tool_calls", "content_filter")
}

func usageSchema() *openapi.Schema {
	return object("ChatUsage", "",
		always("prompt_tokens", &openapi.Schema{Type: openapi.Integer, Description: "All that the model read, the cache included."}),
		always("completion_tokens", number()),
		always("total_tokens", number()),
		always("prompt_tokens_details", object("", "", always("cached_tokens", number()))),
		always("input_tokens", &openapi.Schema{Type: openapi.Integer, Description: "Without the cache. Not OpenAI's."}),
		always("output_tokens", &openapi.Schema{Type: openapi.Integer, Description: "The same as `completion_tokens`. Not OpenAI's."}),
		maybe("completion_tokens_details", object("", "Where the upstream says it.", always("reasoning_tokens", number()))),
	)
}

func completionSchema() *openapi.Schema {
	call := object("ChatToolCall", "",
		always("id", text("")), always("type", word("function")),
		always("function", object("", "", always("name", text("")), always("arguments", text("A JSON object.")))),
	)
	message := object("ChatAnswerMessage", "",
		always("role", word("assistant")),
		always("content", orNull(text(""))),
		always("refusal", orNull(text("Why the model refused, where it says so."))),
		maybe("reasoning_content", text("The thinking. Not OpenAI's.")),
		maybe("tool_calls", array(call)),
	)
	choice := object("ChatChoice", "",
		always("index", number()), always("message", message), always("logprobs", null("")), always("finish_reason", finishReason()),
	)
	return object("ChatCompletion", "",
		append(head("chat.completion"),
			always("choices", array(choice)),
			always("usage", usageSchema()),
			always("content", text("The answer's text once more, for callers of this service's predecessor.")),
			always("cost", orNull(&openapi.Schema{Type: openapi.Number, Description: "In US dollars; null where the price isn't known."})),
			always("project_id", text("Whom the answer is billed to.")),
		)...)
}

func chunkSchema() *openapi.Schema {
	call := object("ChatChunkToolCall", "",
		always("index", number()), maybe("id", text("In the first chunk of a call.")), maybe("type", word("function")),
		always("function", object("", "", maybe("name", text("")), always("arguments", text("A part of a JSON object.")))),
	)
	delta := object("ChatDelta", "",
		maybe("role", word("assistant")),
		maybe("content", text("")),
		maybe("refusal", orNull(text(""))),
		maybe("reasoning_content", text("A part of the thinking. Not OpenAI's.")),
		maybe("tool_calls", array(call)),
	)
	choice := object("ChatChunkChoice", "",
		always("index", number()), always("delta", delta), always("logprobs", null("")), always("finish_reason", orNull(finishReason())),
	)
	return object("ChatCompletionChunk", "",
		append(head("chat.completion.chunk"),
			always("choices", array(choice)),
			maybe("usage", orNull(usageSchema())),
		)...)
}

func errorSchema() *openapi.Schema {
	return object("ChatError", "", always("error", object("", "",
		always("message", text("")),
		always("type", text("")),
		always("param", orNull(text("The member of the request at fault."))),
		always("code", orNull(text(""))),
	)))
}
