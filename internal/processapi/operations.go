package processapi

import (
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/usage"
)

// tag is the family that the operations belong to.
const tag = "Process"

// Operations documents the endpoints.
func (h *Handler) Operations() []openapi.Operation {
	answer := processResponse()
	return []openapi.Operation{
		{
			Method: http.MethodPost, Path: pathProcess, ID: "process", Tag: tag,
			Summary: "Answer a request for a model of any vendor.",
			Description: "With `additional_params.stream`, the answer is a stream of server-sent events: `token` and `thinking` with " +
				"`{type, content}`, `tool_use` with a whole content block, and at last `done` with the whole answer beside its `type`, " +
				"or `error`. With `async_processing`, it is 202 and the answer is got from `GET /v1/process/{id}`.",
			Request: processObject.Schema(),
			Example: jsontext.Value(`{"provider":"openai","model_name":"gpt-4","user_message":"Name three rivers."}`),
			Responses: append([]openapi.Response{
				{Status: http.StatusOK, Description: "The answer.", Schema: answer},
				{Status: http.StatusOK, Description: "The answer.", ContentType: openapi.EventStream, Schema: eventSchema()},
				{Status: http.StatusAccepted, Description: "The request runs. Location says where its outcome will be.", Schema: acceptedSchema()},
			}, failures(http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestEntityTooLarge, http.StatusTooManyRequests,
				http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout)...),
		},
		{
			Method: http.MethodGet, Path: pathRun, ID: "getProcess", Tag: tag, Summary: "The outcome of an asynchronous request.",
			Description: "It is kept for a day by default, for the key that made the request.",
			Parameters:  []openapi.Parameter{{Name: "id", In: "path", Description: "As the 202 named it.", Schema: text("")}},
			Responses: append([]openapi.Response{{Status: http.StatusOK, Description: "What is known of it.", Schema: runSchema(answer)}},
				failures(http.StatusUnauthorized, http.StatusNotFound)...),
		},
		{
			Method: http.MethodPost, Path: pathBatch, ID: "batch", Tag: tag, Summary: "Answer many prompts in parallel.",
			Description: "Each prompt is a request of its own: it counts against the key's limits, and has its own row in the ledger. One that fails fails only itself.",
			Request:     batchObject.Schema(),
			Example:     jsontext.Value(`{"model":"haiku","prompts":[{"id":"a","prompt":"Name a river."},{"id":"b","prompt":"Name a lake."}]}`),
			Responses: append([]openapi.Response{{Status: http.StatusOK, Description: "All results, in the order of the prompts.", Schema: batchSchema()}},
				failures(http.StatusBadRequest, http.StatusUnauthorized, http.StatusRequestEntityTooLarge)...),
		},
		{
			Method: http.MethodPost, Path: pathRoute, ID: "route", Tag: tag, Summary: "Say which model the automatic choice takes.",
			Request: routeObject.Schema(),
			Example: jsontext.Value(`{"prompt":"List three rivers","context_size":0}`),
			Responses: append([]openapi.Response{{Status: http.StatusOK, Description: "The choice, and which rule spoke.", Schema: routeSchema()}},
				failures(http.StatusBadRequest, http.StatusUnauthorized)...),
		},
		{
			Method: http.MethodGet, Path: pathUsage, ID: "usage", Tag: tag, Summary: "What the key's project has used.",
			Description: "In the current day, week (from Monday) or month of UTC, up to the last request that was answered.",
			Parameters: []openapi.Parameter{
				{Name: "period", In: "query", Schema: &openapi.Schema{Type: openapi.String, Enum: usage.Periods(), Default: string(defaultPeriod)}},
				{Name: "group_by", In: "query", Description: "Adds by_key or by_day; by_model is always there. It chooses the lines of a CSV.", Schema: &openapi.Schema{Type: openapi.String, Enum: []string{groupModel, groupKey, groupDay}, Default: groupModel}},
				{Name: "format", In: "query", Description: "The header Accept: text/csv asks for CSV too.", Schema: &openapi.Schema{Type: openapi.String, Enum: []string{formatJSON, formatCSV}, Default: formatJSON}},
			},
			Responses: append([]openapi.Response{
				{Status: http.StatusOK, Description: "The report.", Schema: usageSchema()},
				{Status: http.StatusOK, Description: "The report.", ContentType: "text/csv", Schema: text("One line for each group.")},
			}, failures(http.StatusBadRequest, http.StatusUnauthorized)...),
		},
		{
			Method: http.MethodGet, Path: pathProvider, ID: "providers", Tag: tag, Summary: "The providers: claudecode (the CLI) and anthropic (the Messages API).",
			Responses: append([]openapi.Response{{Status: http.StatusOK, Description: "All of them.", Schema: object("ProvidersResponse", "",
				always("providers", list(object("Provider", "",
					always("name", text("As in the path.")),
					always("display_name", text("For people.")),
					always("backend", text("Its name in X-Claude-Backend.")),
					always("available", flag("It can serve now.")),
					always("models", list(text("An alias or a full id."))),
				))),
			)}}, failures(http.StatusUnauthorized)...),
		},
		{
			Method: http.MethodGet, Path: pathModels, ID: "providerModels", Tag: tag, Summary: "The models of a provider.",
			Parameters: []openapi.Parameter{{Name: "provider", In: "path", Schema: &openapi.Schema{Type: openapi.String}}},
			Responses: append([]openapi.Response{{Status: http.StatusOK, Description: "Its models.", Schema: object("ProviderModelsResponse", "",
				always("provider", text("")),
				always("available", flag("It can serve now.")),
				always("models", list(object("ProviderModel", "",
					always("id", text("An alias or a full id.")),
					always("name", text("For people.")),
					always("context_window", nullable(integer("Tokens; null when not known."))),
					always("max_tokens", nullable(integer("The most that an answer may have; null when not known."))),
				))),
			)}}, failures(http.StatusUnauthorized, http.StatusNotFound)...),
		},
	}
}

func list(items *openapi.Schema) *openapi.Schema {
	return &openapi.Schema{Type: openapi.Array, Items: items}
}

// errorMembers are what tells of an error.
func errorMembers(property func(string, *openapi.Schema) openapi.Property) []openapi.Property {
	return []openapi.Property{
		property("detail", text("What went wrong.")),
		property("error", object("ProcessErrorDetail", "",
			always("message", text("The same as detail.")),
			always("type", text("The category.")),
			always("param", nullable(text("The field at fault."))),
			always("code", text("The exact reason where there is one, else the category.")),
		)),
	}
}

func failures(statuses ...int) []openapi.Response {
	schema := object("ProcessError", "", errorMembers(always)...)
	var responses []openapi.Response
	for _, status := range statuses {
		responses = append(responses, openapi.Response{Status: status, Schema: schema})
	}
	return responses
}

func tokenCounts() *openapi.Schema {
	return object("ProcessUsage", "",
		always("input_tokens", integer("Without what was read from or written to the cache.")),
		always("output_tokens", integer("")),
		always("total_tokens", integer("Input and output: what budgets count.")),
		always("cache_read_input_tokens", integer("")),
		always("cache_creation_input_tokens", integer("")),
	)
}

func processResponse() *openapi.Schema { return object("ProcessResponse", "", answerMembers()...) }

func answerMembers() []openapi.Property {
	return []openapi.Property{
		always("content", text("All text of the answer.")),
		may("content_blocks", &openapi.Schema{Type: openapi.Array, Items: &openapi.Schema{Type: openapi.Object}, Description: "The content blocks of the Messages API, where there are others than text: tool_use, thinking."}),
		always("model", text("As asked.")),
		always("provider", text("As asked.")),
		always("metadata", object("ProcessMetadata", "",
			always("actual_model", text("The model that answered.")),
			always("usage", tokenCounts()),
			always("cost_usd", nullable(number("null when it isn't known."))),
			always("processing_time", number("Seconds, measured.")),
			always("finish_reason", &openapi.Schema{Type: openapi.String, Enum: []string{"stop", "length", "tool_calls", "content_filter"}}),
			may("mapped_from", text("Which model stood in for another vendor's: `openai:gpt-4 → claudecode:sonnet`.")),
			may("warnings", list(text("What of the request couldn't be honoured."))),
		)),
	}
}

// eventSchema documents the data of the stream's events.
func eventSchema() *openapi.Schema {
	event := func(kind string, members ...openapi.Property) *openapi.Schema {
		name := always("type", &openapi.Schema{Type: openapi.String, Enum: []string{kind}})
		return &openapi.Schema{Type: openapi.Object, Properties: append([]openapi.Property{name}, members...)}
	}
	content := always("content", text("A piece of the text."))
	return &openapi.Schema{Name: "ProcessEvent", Description: "The data of an event, whose name is its type.", AnyOf: []*openapi.Schema{
		event("token", content),
		event("thinking", content),
		event("tool_use", always("id", text("")), always("name", text("")), always("input", &openapi.Schema{Type: openapi.Object})),
		event("done", answerMembers()...),
		event("error", errorMembers(always)...),
	}}
}

func acceptedSchema() *openapi.Schema {
	return object("ProcessAccepted", "",
		always("id", text("")), always("status", statusSchema()), always("status_url", text("Relative to the service's own.")),
	)
}

func statusSchema() *openapi.Schema {
	return &openapi.Schema{Type: openapi.String, Enum: []string{"pending", statusRunning, statusCompleted, statusFailed}}
}

func runSchema(answer *openapi.Schema) *openapi.Schema {
	at := func() *openapi.Schema { return &openapi.Schema{Type: openapi.String, Format: "date-time"} }
	return object("ProcessRun", "", append([]openapi.Property{
		always("id", text("")),
		always("status", statusSchema()),
		always("created_at", at()),
		may("completed_at", at()),
		may("response", answer),
	}, errorMembers(may)...)...)
}

func batchSchema() *openapi.Schema {
	return object("BatchResponse", "",
		always("total", integer("")), always("completed", integer("")), always("failed", integer("")),
		always("results", list(object("BatchResult", "",
			always("id", &openapi.Schema{Description: "As asked; else the place in the batch, from 0.", AnyOf: []*openapi.Schema{text(""), number("")}}),
			always("prompt", text("")),
			always("status", &openapi.Schema{Type: openapi.String, Enum: []string{statusCompleted, statusFailed}}),
			always("content", nullable(text("All text of the answer; null where it failed."))),
			always("usage", nullable(tokenCounts())),
			always("cost", nullable(number("US dollars; null when it isn't known."))),
			always("error", nullable(text("What went wrong; null where it succeeded."))),
		))),
		always("total_cost", number("US dollars: the known ones added up.")), always("total_tokens", integer("Input and output.")),
	)
}

func routeSchema() *openapi.Schema {
	return object("RouteResponse", "",
		always("recommended_model", &openapi.Schema{Type: openapi.String, Enum: []string{"haiku", "sonnet", "opus"}}),
		always("reasoning", text("Which rule spoke.")),
		always("budget_status", object("RouteBudget", "",
			always("limit", nullable(integer("Tokens; null without a limit."))),
			always("remaining", nullable(integer(""))),
			always("status", &openapi.Schema{Type: openapi.String, Enum: []string{budgetUnlimited, budgetOK, budgetLow, budgetSpent}}),
		)),
	)
}

func usageSchema() *openapi.Schema {
	counts := []openapi.Property{
		always("input_tokens", integer("")), always("output_tokens", integer("")), always("cache_read_input_tokens", integer("")),
		always("cache_creation_input_tokens", integer("")), always("requests", integer("")),
		always("unpriced_requests", integer("Those whose price isn't known; the cost leaves them out.")),
	}
	groups := func(what string) *openapi.Schema {
		return &openapi.Schema{Type: openapi.Object, Description: what + ": `{tokens, cost}` and the counts that stand at the top too."}
	}
	return object("UsageResponse", "", append(append([]openapi.Property{
		always("project_id", text("The key's.")),
		always("period", &openapi.Schema{Type: openapi.String, Enum: usage.Periods()}),
		always("since", &openapi.Schema{Type: openapi.String, Format: "date-time", Description: "The period's first moment."}),
		always("total_tokens", integer("Input and output: what budgets count.")),
		always("total_cost", number("US dollars.")),
	}, counts...),
		always("by_model", groups("By model")),
		may("by_key", groups("By the key's id")),
		may("by_day", groups("By date of UTC")),
		always("limit", nullable(integer("The budget in tokens; null without one."))),
		always("remaining", nullable(integer("What is left of it."))),
	)...)
}
