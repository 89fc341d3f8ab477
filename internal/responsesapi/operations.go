package responsesapi

import (
	"net/http"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

const tag = "Responses"

// Operations documents the endpoints.
func (h *Handler) Operations() []openapi.Operation {
	object, request := responseSchema(), requestObject.Schema()
	backend := protocol.BackendParameter()
	id := openapi.Parameter{Name: "id", In: "path", Description: "The response's id.", Schema: openapi.Text("")}
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
			Parameters: []openapi.Parameter{backend, protocol.OnceParameter()}, Request: request,
			Example: jsontext.Value(`{"model":"sonnet","input":"Name three rivers."}`),
			Responses: protocol.WithHeaders(true, protocol.OpenAILimits(), slices.Concat(
				[]openapi.Response{ok(object), {Status: http.StatusOK, ContentType: openapi.EventStream, Schema: eventSchema(object)}},
				protocol.OpenAIFailures(), protocol.OnceFailures())),
		},
		{
			Method: http.MethodPost, Path: pathInputTokens, ID: "countResponseInputTokens", Tag: tag,
			Summary:     "Count the input tokens that a response would have.",
			Description: "Takes what creating a response takes. Nothing is generated or kept.",
			Parameters:  []openapi.Parameter{backend}, Request: request,
			Example: jsontext.Value(`{"model":"sonnet","input":"Name three rivers."}`),
			Responses: protocol.WithHeaders(false, protocol.OpenAILimits(), append([]openapi.Response{ok(openapi.Members(
				"ResponseInputTokens", "", openapi.Always("object", openapi.Words("response.input_tokens")), openapi.Always("input_tokens", openapi.Int("")),
			))}, protocol.OpenAIFailures()...)),
		},
		{
			Method: http.MethodGet, Path: pathResponse, ID: "getResponse", Tag: tag, Summary: "Give a kept response.",
			Description: "Only those of the same key are there, and only for as long as they are kept.",
			Parameters:  []openapi.Parameter{id}, Responses: append([]openapi.Response{ok(object)}, reading()...),
		},
		{
			Method: http.MethodDelete, Path: pathResponse, ID: "deleteResponse", Tag: tag, Summary: "Delete a kept response.",
			Parameters: []openapi.Parameter{id},
			Responses:  append([]openapi.Response{ok(openapi.Members("ResponseDeleted", "", openapi.Always("id", openapi.Text("")), openapi.Always("object", openapi.Words("response")), openapi.Always("deleted", openapi.Flag(""))))}, reading()...),
		},
		{
			Method: http.MethodGet, Path: pathInputItems, ID: "listResponseInputItems", Tag: tag,
			Summary: "List the items that a response was generated from: its whole conversation.",
			Parameters: []openapi.Parameter{
				id,
				query("limit", "How many items a page has.", &openapi.Schema{Type: openapi.Integer, Minimum: 1, Maximum: maxPage, Default: defaultPage}),
				query("order", "The latest first, or the oldest.", &openapi.Schema{Type: openapi.String, Enum: []string{"desc", "asc"}, Default: "desc"}),
				query("after", "The id of the item behind which the page begins.", openapi.Text("")),
			},
			Responses: append([]openapi.Response{ok(openapi.Members("ResponseInputItemList", "",
				openapi.Always("object", openapi.Words("list")), openapi.Always("data", openapi.List(itemObject.Schema())), openapi.Always("first_id", openapi.Nullable(openapi.Text(""))),
				openapi.Always("last_id", openapi.Nullable(openapi.Text(""))), openapi.Always("has_more", openapi.Flag(""))))}, reading()...),
		},
		{
			Method: http.MethodPost, Path: pathCancel, ID: "cancelResponse", Tag: tag, Summary: "Refused: only responses in the background could be cancelled.",
			Parameters: []openapi.Parameter{id}, Responses: reading(),
		},
	}
}

// reading documents the errors of what only reads the archive.
func reading() []openapi.Response {
	return protocol.WithHeaders(false, nil, []openapi.Response{
		protocol.OpenAIFailure(http.StatusBadRequest, "The request is at fault; `param` names the member."),
		protocol.OpenAIFailure(http.StatusUnauthorized, "The key isn't valid."),
		protocol.OpenAIFailure(http.StatusNotFound, "There is no such response."),
		protocol.OpenAIFailure(http.StatusInternalServerError, "A fault of this service."),
		protocol.OpenAIFailure(http.StatusServiceUnavailable, "Kept responses can't be reached at the moment (`Retry-After`)."),
	})
}

// outputSchema documents the items of an output.
func outputSchema() *openapi.Schema {
	part := openapi.Members("ResponseOutputPart", "",
		openapi.Always("type", openapi.Words("output_text", "refusal")), openapi.Maybe("text", openapi.Text("")), openapi.Maybe("annotations", anyArray()), openapi.Maybe("logprobs", anyArray()), openapi.Maybe("refusal", openapi.Text("")))
	return &openapi.Schema{Name: "ResponseOutputItem", Description: "In the order in which the model gave them.", AnyOf: []*openapi.Schema{
		openapi.Members("ResponseOutputMessage", "",
			openapi.Always("id", openapi.Text("")), openapi.Always("type", openapi.Words(kindMessage)), openapi.Always("status", openapi.Words(statusInProgress, statusCompleted, statusIncomplete)),
			openapi.Always("role", openapi.Words("assistant")), openapi.Always("content", openapi.List(part))),
		openapi.Members("ResponseFunctionCall", "",
			openapi.Always("id", openapi.Text("")), openapi.Always("type", openapi.Words(kindCall)), openapi.Always("status", openapi.Words(statusInProgress, statusCompleted, statusIncomplete)),
			openapi.Always("call_id", openapi.Text("")), openapi.Always("name", openapi.Text("")), openapi.Always("arguments", openapi.Text("A JSON object; cut off where the status is incomplete."))),
		openapi.Members("ResponseReasoning", "",
			openapi.Always("id", openapi.Text("")), openapi.Always("type", openapi.Words(kindReasoning)),
			openapi.Always("summary", openapi.List(openapi.Members("", "", openapi.Always("type", openapi.Words("summary_text")), openapi.Always("text", openapi.Text(""))))),
			openapi.Maybe("encrypted_content", openapi.Text("Where `include` asks for it."))),
	}}
}

// responseSchema documents a response.
func responseSchema() *openapi.Schema {
	usage := openapi.Members("ResponseUsage", "",
		openapi.Always("input_tokens", &openapi.Schema{Type: openapi.Integer, Description: "All that the model read, the cache included."}),
		openapi.Always("input_tokens_details", openapi.Members("", "", openapi.Always("cached_tokens", openapi.Int("")), openapi.Always("cache_write_tokens", openapi.Int("")))),
		openapi.Always("output_tokens", openapi.Int("")),
		openapi.Always("output_tokens_details", openapi.Members("", "", openapi.Always("reasoning_tokens", &openapi.Schema{Type: openapi.Integer, Description: "0 where the upstream doesn't say."}))),
		openapi.Always("total_tokens", openapi.Int("")),
	)
	optional := func(name string) openapi.Property { return openapi.Always(name, openapi.Nullable(openapi.Text(""))) }
	return openapi.Members("ResponseObject", "",
		openapi.Always("id", openapi.Text("")), openapi.Always("object", openapi.Words("response")), openapi.Always("created_at", openapi.Int("")),
		openapi.Always("status", openapi.Words(statusInProgress, statusCompleted, statusIncomplete, statusFailed)),
		openapi.Always("background", openapi.Flag("")), openapi.Always("completed_at", openapi.Nullable(openapi.Int(""))),
		openapi.Always("error", openapi.Nullable(openapi.Members("", "", openapi.Always("code", openapi.Text("")), openapi.Always("message", openapi.Text(""))))),
		openapi.Always("incomplete_details", openapi.Nullable(openapi.Members("", "", openapi.Always("reason", openapi.Words("max_output_tokens", "content_filter"))))),
		optional("instructions"), openapi.Always("max_output_tokens", openapi.Nullable(openapi.Int(""))), openapi.Always("max_tool_calls", openapi.Nullable(openapi.Int(""))),
		openapi.Always("model", openapi.Text("The model that answered.")), openapi.Always("output", openapi.List(outputSchema())),
		openapi.Always("parallel_tool_calls", openapi.Flag("")), optional("previous_response_id"),
		openapi.Always("reasoning", openapi.Members("", "", optional("effort"), optional("summary"))),
		openapi.Always("store", openapi.Flag("")), openapi.Always("temperature", &openapi.Schema{Type: openapi.Number}),
		openapi.Always("text", openapi.Members("", "", openapi.Always("format", formatObject.Schema()))),
		openapi.Always("tool_choice", choiceSchema()), openapi.Always("tools", openapi.List(toolObject.Schema())),
		openapi.Always("top_logprobs", openapi.Int("")), openapi.Always("top_p", &openapi.Schema{Type: openapi.Number}), openapi.Always("truncation", openapi.Words("auto", "disabled")),
		openapi.Always("service_tier", openapi.Text("")), optional("user"), optional("safety_identifier"), optional("prompt_cache_key"),
		openapi.Always("metadata", &openapi.Schema{Type: openapi.Object}), openapi.Always("usage", openapi.Nullable(usage)),
	)
}

func choiceSchema() *openapi.Schema {
	return &openapi.Schema{AnyOf: []*openapi.Schema{{Type: openapi.String, Enum: []string{"none", "auto", "required"}}, choiceObject.Schema()}}
}

// eventSchema documents an event of a stream. The members depend on its type.
func eventSchema(object *openapi.Schema) *openapi.Schema {
	return openapi.Members("ResponseEvent", "",
		openapi.Always("type", openapi.Words(
			"response.created", "response.in_progress", "response.completed", "response.incomplete", "response.failed", "error",
			"response.output_item.added", "response.output_item.done", "response.content_part.added", "response.content_part.done",
			"response.output_text.delta", "response.output_text.done", "response.refusal.delta", "response.refusal.done",
			"response.function_call_arguments.delta", "response.function_call_arguments.done",
			"response.reasoning_summary_part.added", "response.reasoning_summary_part.done",
			"response.reasoning_summary_text.delta", "response.reasoning_summary_text.done",
		)),
		openapi.Always("sequence_number", openapi.Int("")),
		openapi.Maybe("response", object), openapi.Maybe("item", outputSchema()), openapi.Maybe("item_id", openapi.Text("")), openapi.Maybe("output_index", openapi.Int("")),
		openapi.Maybe("content_index", openapi.Int("")), openapi.Maybe("summary_index", openapi.Int("")),
		openapi.Maybe("part", openapi.Members("", "", openapi.Always("type", openapi.Words("output_text", "refusal", "summary_text")))),
		openapi.Maybe("delta", openapi.Text("")), openapi.Maybe("text", openapi.Text("")), openapi.Maybe("refusal", openapi.Text("")), openapi.Maybe("arguments", openapi.Text("")), openapi.Maybe("name", openapi.Text("")),
		openapi.Maybe("logprobs", anyArray()), openapi.Maybe("code", openapi.Nullable(openapi.Text(""))), openapi.Maybe("message", openapi.Text("")), openapi.Maybe("param", openapi.Nullable(openapi.Text(""))),
	)
}
