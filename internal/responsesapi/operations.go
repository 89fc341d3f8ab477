package responsesapi

import (
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

const tag = "Responses"

// Operations documents the endpoints.
func (h *Handler) Operations() []openapi.Operation {
	object, request := responseSchema(), requestObject.Schema()
	backend := openapi.Parameter{
		Name: protocol.HeaderBackend, In: "header", Description: "Which backend is to answer; wins over `use_cli`. Absent: the configured default.",
		Schema: &openapi.Schema{Type: openapi.String, Enum: []string{"cli", "direct"}},
	}
	id := openapi.Parameter{Name: "id", In: "path", Description: "The response's id.", Schema: text("")}
	query := func(name, description string, schema *openapi.Schema) openapi.Parameter {
		return openapi.Parameter{Name: name, In: "query", Description: description, Schema: schema}
	}
	ok := func(schema *openapi.Schema) openapi.Response {
		return openapi.Response{Status: http.StatusOK, Schema: schema}
	}
	return []openapi.Operation{
		{
			Method: http.MethodPost, Path: pathResponses, ID: "createResponse", Tag: tag,
			Summary: "Answer a conversation, in the form of OpenAI's Responses API.",
			Description: "The official SDKs work unchanged. What can't be honoured is named in the header `X-Claude-Warnings`; " +
				"what would change the shape of the answer is refused.\n\n" +
				"A stream consists of named events and ends with `response.completed`, `response.incomplete` or `response.failed`. " +
				"A response is kept, unless `store` is false, before its last byte leaves.",
			Parameters: []openapi.Parameter{backend}, Request: request,
			Example:   jsontext.Value(`{"model":"sonnet","input":"Name three rivers."}`),
			Responses: append([]openapi.Response{ok(object), {Status: http.StatusOK, ContentType: openapi.EventStream, Schema: eventSchema(object)}}, generating()...),
		},
		{
			Method: http.MethodPost, Path: pathInputTokens, ID: "countResponseInputTokens", Tag: tag,
			Summary:     "Count the input tokens that a response would have.",
			Description: "Takes what creating a response takes. Nothing is generated or kept.",
			Parameters:  []openapi.Parameter{backend}, Request: request,
			Example:   jsontext.Value(`{"model":"sonnet","input":"Name three rivers."}`),
			Responses: append([]openapi.Response{ok(named("ResponseInputTokens", always("object", word("response.input_tokens")), always("input_tokens", number())))}, generating()...),
		},
		{
			Method: http.MethodGet, Path: pathResponse, ID: "getResponse", Tag: tag, Summary: "Give a kept response.",
			Description: "Only those of the same key are there, and only for as long as they are kept.",
			Parameters:  []openapi.Parameter{id}, Responses: append([]openapi.Response{ok(object)}, reading()...),
		},
		{
			Method: http.MethodDelete, Path: pathResponse, ID: "deleteResponse", Tag: tag, Summary: "Delete a kept response.",
			Parameters: []openapi.Parameter{id},
			Responses:  append([]openapi.Response{ok(named("ResponseDeleted", always("id", text("")), always("object", word("response")), always("deleted", flag())))}, reading()...),
		},
		{
			Method: http.MethodGet, Path: pathInputItems, ID: "listResponseInputItems", Tag: tag,
			Summary: "List the items that a response was generated from: its whole conversation.",
			Parameters: []openapi.Parameter{
				id,
				query("limit", "How many items a page has.", &openapi.Schema{Type: openapi.Integer, Minimum: 1, Maximum: maxPage, Default: defaultPage}),
				query("order", "The latest first, or the oldest.", &openapi.Schema{Type: openapi.String, Enum: []string{"desc", "asc"}, Default: "desc"}),
				query("after", "The id of the item behind which the page begins.", text("")),
			},
			Responses: append([]openapi.Response{ok(named("ResponseInputItemList",
				always("object", word("list")), always("data", list(itemObject.Schema())), always("first_id", orNone(text(""))),
				always("last_id", orNone(text(""))), always("has_more", flag())))}, reading()...),
		},
		{
			Method: http.MethodPost, Path: pathCancel, ID: "cancelResponse", Tag: tag, Summary: "Refused: only responses in the background could be cancelled.",
			Parameters: []openapi.Parameter{id}, Responses: reading(),
		},
	}
}

// failed documents an error.
func failed(status int, description string) openapi.Response {
	return openapi.Response{Status: status, Description: description, Schema: named("ResponseFailure", always("error", named("",
		always("message", text("")),
		always("type", text("")),
		always("param", orNone(text("The member of the request at fault."))),
		always("code", orNone(text(""))),
	)))}
}

// reading documents the errors of what only reads the archive.
func reading() []openapi.Response {
	return []openapi.Response{
		failed(http.StatusBadRequest, "The request is at fault; `param` names the member."),
		failed(http.StatusUnauthorized, "The key isn't valid."),
		failed(http.StatusNotFound, "There is no such response."),
		failed(http.StatusInternalServerError, "A fault of this service."),
		failed(http.StatusServiceUnavailable, "Kept responses can't be reached at the moment (`Retry-After`)."),
	}
}

// generating documents the errors of what asks a backend.
func generating() []openapi.Response {
	return []openapi.Response{
		failed(http.StatusBadRequest, "The request is at fault; `param` names the member. An unknown previous response has the code `previous_response_not_found`."),
		failed(http.StatusUnauthorized, "The key isn't valid."),
		failed(http.StatusForbidden, "The key doesn't allow it."),
		failed(http.StatusNotFound, "There is no such model, or no such item."),
		failed(http.StatusRequestEntityTooLarge, "The body is too large."),
		failed(http.StatusTooManyRequests, "A limit is reached (`Retry-After`), or a budget is spent (`x-should-retry: false`)."),
		failed(http.StatusInternalServerError, "A fault of this service."),
		failed(http.StatusBadGateway, "The backend failed."),
		failed(http.StatusServiceUnavailable, "There is no room at the moment (`Retry-After`)."),
		failed(http.StatusGatewayTimeout, "The backend took too long."),
	}
}

func always(name string, schema *openapi.Schema) openapi.Property {
	return openapi.Property{Name: name, Schema: schema, Required: true}
}

func maybe(name string, schema *openapi.Schema) openapi.Property {
	return openapi.Property{Name: name, Schema: schema}
}

func named(name string, properties ...openapi.Property) *openapi.Schema {
	return &openapi.Schema{Name: name, Type: openapi.Object, Properties: properties}
}

func word(words ...string) *openapi.Schema {
	return &openapi.Schema{Type: openapi.String, Enum: words}
}

func number() *openapi.Schema { return &openapi.Schema{Type: openapi.Integer} }

func flag() *openapi.Schema { return &openapi.Schema{Type: openapi.Boolean} }

func list(items *openapi.Schema) *openapi.Schema {
	return &openapi.Schema{Type: openapi.Array, Items: items}
}

func orNone(schema *openapi.Schema) *openapi.Schema {
	return &openapi.Schema{AnyOf: []*openapi.Schema{schema, {Type: openapi.Null}}}
}

// outputSchema documents the items of an output.
func outputSchema() *openapi.Schema {
	part := named("ResponseOutputPart",
		always("type", word("output_text", "refusal")), maybe("text", text("")), maybe("annotations", anyArray()), maybe("logprobs", anyArray()), maybe("refusal", text("")))
	return &openapi.Schema{Name: "ResponseOutputItem", Description: "In the order in which the model gave them.", AnyOf: []*openapi.Schema{
		named("ResponseOutputMessage",
			always("id", text("")), always("type", word(kindMessage)), always("status", word(statusInProgress, statusCompleted, statusIncomplete)),
			always("role", word("assistant")), always("content", list(part))),
		named("ResponseFunctionCall",
			always("id", text("")), always("type", word(kindCall)), always("status", word(statusInProgress, statusCompleted, statusIncomplete)),
			always("call_id", text("")), always("name", text("")), always("arguments", text("A JSON object; cut off where the status is incomplete."))),
		named("ResponseReasoning",
			always("id", text("")), always("type", word(kindReasoning)),
			always("summary", list(named("", always("type", word("summary_text")), always("text", text(""))))),
			maybe("encrypted_content", text("Where `include` asks for it."))),
	}}
}

// responseSchema documents a response.
func responseSchema() *openapi.Schema {
	usage := named("ResponseUsage",
		always("input_tokens", &openapi.Schema{Type: openapi.Integer, Description: "All that the model read, the cache included."}),
		always("input_tokens_details", named("", always("cached_tokens", number()), always("cache_write_tokens", number()))),
		always("output_tokens", number()),
		always("output_tokens_details", named("", always("reasoning_tokens", &openapi.Schema{Type: openapi.Integer, Description: "0 where the upstream doesn't say."}))),
		always("total_tokens", number()),
	)
	optional := func(name string) openapi.Property { return always(name, orNone(text(""))) }
	return named("ResponseObject",
		always("id", text("")), always("object", word("response")), always("created_at", number()),
		always("status", word(statusInProgress, statusCompleted, statusIncomplete, statusFailed)),
		always("background", flag()), always("completed_at", orNone(number())),
		always("error", orNone(named("", always("code", text("")), always("message", text(""))))),
		always("incomplete_details", orNone(named("", always("reason", word("max_output_tokens", "content_filter"))))),
		optional("instructions"), always("max_output_tokens", orNone(number())), always("max_tool_calls", orNone(number())),
		always("model", text("The model that answered.")), always("output", list(outputSchema())),
		always("parallel_tool_calls", flag()), optional("previous_response_id"),
		always("reasoning", named("", optional("effort"), optional("summary"))),
		always("store", flag()), always("temperature", &openapi.Schema{Type: openapi.Number}),
		always("text", named("", always("format", formatObject.Schema()))),
		always("tool_choice", choiceSchema()), always("tools", list(toolObject.Schema())),
		always("top_logprobs", number()), always("top_p", &openapi.Schema{Type: openapi.Number}), always("truncation", word("auto", "disabled")),
		always("service_tier", text("")), optional("user"), optional("safety_identifier"), optional("prompt_cache_key"),
		always("metadata", &openapi.Schema{Type: openapi.Object}), always("usage", orNone(usage)),
	)
}

func choiceSchema() *openapi.Schema {
	return &openapi.Schema{AnyOf: []*openapi.Schema{{Type: openapi.String, Enum: []string{"none", "auto", "required"}}, choiceObject.Schema()}}
}

// eventSchema documents an event of a stream. The members depend on its type.
func eventSchema(object *openapi.Schema) *openapi.Schema {
	return named("ResponseEvent",
		always("type", word(
			"response.created", "response.in_progress", "response.completed", "response.incomplete", "response.failed", "error",
			"response.output_item.added", "response.output_item.done", "response.content_part.added", "response.content_part.done",
			"response.output_text.delta", "response.output_text.done", "response.refusal.delta", "response.refusal.done",
			"response.function_call_arguments.delta", "response.function_call_arguments.done",
			"response.reasoning_summary_part.added", "response.reasoning_summary_part.done",
			"response.reasoning_summary_text.delta", "response.reasoning_summary_text.done",
		)),
		always("sequence_number", number()),
		maybe("response", object), maybe("item", outputSchema()), maybe("item_id", text("")), maybe("output_index", number()),
		maybe("content_index", number()), maybe("summary_index", number()),
		maybe("part", named("", always("type", word("output_text", "refusal", "summary_text")))),
		maybe("delta", text("")), maybe("text", text("")), maybe("refusal", text("")), maybe("arguments", text("")), maybe("name", text("")),
		maybe("logprobs", anyArray()), maybe("code", orNone(text(""))), maybe("message", text("")), maybe("param", orNone(text(""))),
	)
}
