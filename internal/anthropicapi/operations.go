package anthropicapi

import (
	"net/http"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

// tag is the family's name in the document.
const tag = "Anthropic"

// Operations documents the endpoints. Of a request only the members that the
// service itself reads have a schema; the others are the API's business.
func (h *Handler) Operations() []openapi.Operation {
	const whatIs = "The Anthropic Messages API (platform.claude.com/docs, \"Messages\"). "
	headers := []openapi.Parameter{
		{Name: "X-Claude-Backend", In: "header", Description: "Which backend serves the request; wins over `use_cli`.", Schema: &openapi.Schema{Type: openapi.String, Enum: []string{"cli", "direct"}}},
		{Name: "anthropic-version", In: "header", Description: "Sent on as it is on the direct path; 2023-06-01 where it is absent.", Schema: &openapi.Schema{Type: openapi.String}},
		{Name: "anthropic-beta", In: "header", Description: "Sent on as it is on the direct path. A request that names one is served there if there is one.", Schema: &openapi.Schema{Type: openapi.String}},
	}
	return []openapi.Operation{
		{
			Method: http.MethodPost, Path: pathMessages, ID: "messages", Tag: tag,
			Summary: "Generate an answer.",
			Description: whatIs + "On the direct path the bytes pass unchanged both ways, members that aren't listed here too, and so do the upstream's errors. " +
				"On the CLI path what can't be honoured is named in the header `X-Claude-Warnings`, or refused where it would change the answer's shape.",
			Parameters: append(slices.Clone(headers), protocol.OnceParameter()), Request: requestSchema("MessagesRequest", true),
			Example: jsontext.Value(`{"model":"sonnet","max_tokens":200,"messages":[{"role":"user","content":"Name three rivers."}]}`),
			Responses: protocol.WithHeaders(true, limitHeaders(), append([]openapi.Response{
				{Status: http.StatusOK, Description: "The answer.", Schema: messageSchema()},
				{Status: http.StatusOK, Description: "With `stream: true` the API's own events.", ContentType: openapi.EventStream, Schema: &openapi.Schema{Type: openapi.String}},
				failure(http.StatusConflict, protocol.OnceConflict),
				failure(http.StatusUnprocessableEntity, protocol.OnceMismatch),
			}, failures()...)),
		},
		{
			Method: http.MethodPost, Path: pathCount, ID: "countTokens", Tag: tag,
			Summary:     "Count a request's input tokens.",
			Description: whatIs + "Takes what `/v1/messages` takes. The upstream counts; on the CLI path it is an estimate, and `X-Claude-Warnings` says so.",
			Parameters:  headers, Request: requestSchema("CountTokensRequest", false),
			Example: jsontext.Value(`{"model":"sonnet","messages":[{"role":"user","content":"Name three rivers."}]}`),
			Responses: protocol.WithHeaders(false, limitHeaders(), append([]openapi.Response{{
				Status: http.StatusOK, Description: "The count.",
				Schema: &openapi.Schema{Name: "TokenCount", Type: openapi.Object, Properties: []openapi.Property{
					{Name: "input_tokens", Schema: &openapi.Schema{Type: openapi.Integer}, Required: true},
				}},
			}}, failures()...)),
		},
		{
			Method: http.MethodGet, Path: pathModels, ID: "listModels", Tag: tag,
			Summary: "List the models.", Description: "One body for the clients of both families.",
			Parameters: []openapi.Parameter{
				{Name: "limit", In: "query", Description: "All of them where it is absent.", Schema: &openapi.Schema{Type: openapi.Integer, Minimum: 1, Maximum: maxModels}},
				{Name: "after_id", In: "query", Description: "The page behind this model.", Schema: &openapi.Schema{Type: openapi.String}},
				{Name: "before_id", In: "query", Description: "The page in front of this model.", Schema: &openapi.Schema{Type: openapi.String}},
			},
			Responses: []openapi.Response{
				{Status: http.StatusOK, Description: "The page.", Schema: &openapi.Schema{Name: "ModelList", Type: openapi.Object, Properties: []openapi.Property{
					{Name: "object", Schema: &openapi.Schema{Type: openapi.String, Enum: []string{"list"}}, Required: true},
					{Name: "data", Schema: &openapi.Schema{Type: openapi.Array, Items: modelSchema()}, Required: true},
					{Name: "has_more", Schema: &openapi.Schema{Type: openapi.Boolean}, Required: true},
					{Name: "first_id", Schema: nullable(openapi.String), Required: true},
					{Name: "last_id", Schema: nullable(openapi.String), Required: true},
				}}},
				failure(http.StatusBadRequest, "A parameter isn't valid."),
				failure(http.StatusUnauthorized, "The key isn't valid."),
			},
		},
		{
			Method: http.MethodGet, Path: pathModel, ID: "getModel", Tag: tag, Summary: "Describe a model.",
			Parameters: []openapi.Parameter{{Name: "id", In: "path", Description: "An id or an alias.", Schema: &openapi.Schema{Type: openapi.String}}},
			Responses: []openapi.Response{
				{Status: http.StatusOK, Description: "The model.", Schema: modelSchema()},
				failure(http.StatusUnauthorized, "The key isn't valid."),
				failure(http.StatusNotFound, "There is no such model."),
			},
		},
	}
}

func nullable(kind string) *openapi.Schema {
	return &openapi.Schema{AnyOf: []*openapi.Schema{{Type: kind}, {Type: openapi.Null}}}
}

func requestSchema(name string, maxTokens bool) *openapi.Schema {
	describe := func(kind, text string) *openapi.Schema { return &openapi.Schema{Type: kind, Description: text} }
	return &openapi.Schema{Name: name, Type: openapi.Object, Properties: []openapi.Property{
		{Name: "model", Schema: describe(openapi.String, "`haiku`, `sonnet`, `opus`, `auto` (as if absent), a configured name, or a full id.")},
		{Name: "messages", Schema: &openapi.Schema{Type: openapi.Array, Items: &openapi.Schema{Type: openapi.Object, Properties: []openapi.Property{
			{Name: "role", Schema: &openapi.Schema{Type: openapi.String}, Required: true},
			{Name: "content", Schema: describe("", "A string, or content blocks."), Required: true},
		}}}, Required: true},
		{Name: "max_tokens", Schema: &openapi.Schema{Type: openapi.Integer, Minimum: 1}, Required: maxTokens},
		{Name: "stream", Schema: &openapi.Schema{Type: openapi.Boolean}},
		{Name: "system", Schema: describe("", "A string, or text blocks.")},
		{Name: "thinking", Schema: describe(openapi.Object, "What a model takes differs; the newest take `{\"type\":\"adaptive\"}` alone.")},
		{Name: "tools", Schema: &openapi.Schema{Type: openapi.Array, Items: &openapi.Schema{Type: openapi.Object}}},
		{Name: "tool_choice", Schema: describe(openapi.Object, "")},
		{Name: "output_config", Schema: describe(openapi.Object, "effort, and the format of structured outputs.")},
		{Name: "use_cli", Schema: describe(openapi.Boolean, "The service's own: true for the CLI, false for the direct path. It never reaches the upstream.")},
	}}
}

func messageSchema() *openapi.Schema {
	count := &openapi.Schema{Type: openapi.Integer}
	return &openapi.Schema{Name: "Message", Type: openapi.Object, Properties: []openapi.Property{
		{Name: "id", Schema: &openapi.Schema{Type: openapi.String}, Required: true},
		{Name: "type", Schema: &openapi.Schema{Type: openapi.String, Enum: []string{"message"}}, Required: true},
		{Name: "role", Schema: &openapi.Schema{Type: openapi.String, Enum: []string{"assistant"}}, Required: true},
		{Name: "model", Schema: &openapi.Schema{Type: openapi.String}, Required: true},
		{Name: "content", Schema: &openapi.Schema{Type: openapi.Array, Items: &openapi.Schema{Type: openapi.Object}}, Required: true},
		{Name: "stop_reason", Schema: nullable(openapi.String), Required: true},
		{Name: "stop_sequence", Schema: nullable(openapi.String)},
		{Name: "usage", Schema: &openapi.Schema{Type: openapi.Object, Properties: []openapi.Property{
			{Name: "input_tokens", Schema: count, Required: true},
			{Name: "output_tokens", Schema: count, Required: true},
			{Name: "cache_read_input_tokens", Schema: nullable(openapi.Integer)},
			{Name: "cache_creation_input_tokens", Schema: nullable(openapi.Integer)},
		}}, Required: true},
	}}
}

func modelSchema() *openapi.Schema {
	return &openapi.Schema{Name: "Model", Type: openapi.Object, Properties: []openapi.Property{
		{Name: "id", Schema: &openapi.Schema{Type: openapi.String}, Required: true},
		{Name: "object", Schema: &openapi.Schema{Type: openapi.String, Enum: []string{"model"}}, Required: true},
		{Name: "created", Schema: &openapi.Schema{Type: openapi.Integer, Description: "Seconds since 1970."}, Required: true},
		{Name: "owned_by", Schema: &openapi.Schema{Type: openapi.String}, Required: true},
		{Name: "type", Schema: &openapi.Schema{Type: openapi.String, Enum: []string{"model"}}, Required: true},
		{Name: "display_name", Schema: &openapi.Schema{Type: openapi.String}, Required: true},
		{Name: "created_at", Schema: &openapi.Schema{Type: openapi.String, Format: "date-time"}, Required: true},
	}}
}

// limitHeaders document what SetHeader tells of rate limits.
func limitHeaders() []openapi.Header {
	const reset = "When all of it may be used again, RFC 3339."
	return []openapi.Header{
		{Name: "anthropic-ratelimit-requests-limit", Description: "Requests a minute of the key or of its project, whichever leaves less; absent without such a limit."},
		{Name: "anthropic-ratelimit-requests-remaining", Description: "How many of them are left."},
		{Name: "anthropic-ratelimit-requests-reset", Description: reset},
		{Name: "anthropic-ratelimit-tokens-limit", Description: "Tokens a minute of the key or of its project, whichever leaves less; absent without such a limit."},
		{Name: "anthropic-ratelimit-tokens-remaining", Description: "How many of them are left."},
		{Name: "anthropic-ratelimit-tokens-reset", Description: reset},
	}
}

// failures are what every generating endpoint may answer.
func failures() []openapi.Response {
	return []openapi.Response{
		failure(http.StatusBadRequest, "The request isn't valid."),
		failure(http.StatusUnauthorized, "The key isn't valid."),
		failure(http.StatusPaymentRequired, protocol.BudgetIsSpent),
		failure(http.StatusForbidden, protocol.Forbidden),
		failure(http.StatusNotFound, "There is no such model."),
		failure(http.StatusRequestEntityTooLarge, "The body is too large."),
		failure(http.StatusTooManyRequests, protocol.Limited),
		failure(http.StatusInternalServerError, "The service failed."),
		failure(http.StatusBadGateway, "The upstream or the CLI failed, or refused the service's credential."),
		failure(http.StatusServiceUnavailable, "The service is full or stopping; `Retry-After` says for how long."),
		failure(http.StatusGatewayTimeout, "The upstream took too long."),
	}
}

func failure(status int, description string) openapi.Response {
	return openapi.Response{Status: status, Description: description, Schema: &openapi.Schema{
		Name: "AnthropicError", Type: openapi.Object, Properties: []openapi.Property{
			{Name: "type", Schema: &openapi.Schema{Type: openapi.String, Enum: []string{"error"}}, Required: true},
			{Name: "error", Schema: &openapi.Schema{Type: openapi.Object, Properties: []openapi.Property{
				{Name: "type", Schema: &openapi.Schema{Type: openapi.String}, Required: true},
				{Name: "message", Schema: &openapi.Schema{Type: openapi.String}, Required: true},
			}}, Required: true},
			{Name: "request_id", Schema: &openapi.Schema{Type: openapi.String}},
		},
	}}
}
