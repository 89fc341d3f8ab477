package processapi

import (
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
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
			Parameters: []openapi.Parameter{protocol.OnceParameter()}, Request: processObject.Schema(),
			Example: jsontext.Value(`{"provider":"openai","model_name":"gpt-4","user_message":"Name three rivers."}`),
			Responses: protocol.WithHeaders(true, nil, append([]openapi.Response{
				{Status: http.StatusOK, Description: "The answer.", Schema: answer},
				{Status: http.StatusOK, Description: "The answer.", ContentType: openapi.EventStream, Schema: eventSchema()},
				{Status: http.StatusAccepted, Description: "The request is kept and will run. Location says where its outcome will be.", Schema: acceptedSchema()},
			}, failures(http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusConflict, http.StatusRequestEntityTooLarge,
				http.StatusUnprocessableEntity, http.StatusTooManyRequests,
				http.StatusInternalServerError, http.StatusNotImplemented, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout)...)),
		},
		{
			Method: http.MethodGet, Path: pathRun, ID: "getProcess", Tag: tag, Summary: "The outcome of an asynchronous request.",
			Description: "Any node gives it, also after a restart, to the key that made the request; it is kept for `--task-ttl`. A request whose node died is begun again on another one.",
			Parameters:  []openapi.Parameter{{Name: "id", In: "path", Description: "As the 202 named it.", Schema: openapi.Text("")}},
			Responses: append([]openapi.Response{{Status: http.StatusOK, Description: "What is known of it.", Schema: runSchema("ProcessRun", answer)}},
				failures(http.StatusUnauthorized, http.StatusNotFound)...),
		},
		{
			Method: http.MethodPost, Path: pathBatch, ID: "batch", Tag: tag, Summary: "Answer many prompts in parallel.",
			Description: "Each prompt is a request of its own: it counts against the key's limits, and has its own row in the ledger. One that fails fails only itself. " +
				"With `async_processing`, it is 202 and the results are got from `GET /v1/batch/{id}`; prompts then wait for the key's limits instead of failing at them.",
			Parameters: []openapi.Parameter{protocol.OnceParameter()}, Request: batchObject.Schema(),
			Example: jsontext.Value(`{"model":"haiku","prompts":[{"id":"a","prompt":"Name a river."},{"id":"b","prompt":"Name a lake."}]}`),
			Responses: protocol.WithHeaders(true, nil, append([]openapi.Response{{Status: http.StatusOK, Description: "All results, in the order of the prompts.", Schema: batchSchema()},
				{Status: http.StatusAccepted, Description: "The batch is kept and will run. Location says where its results will be.", Schema: acceptedSchema()}},
				failures(http.StatusBadRequest, http.StatusUnauthorized, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity,
					http.StatusTooManyRequests, http.StatusServiceUnavailable)...)),
		},
		{
			Method: http.MethodGet, Path: pathBatchRun, ID: "getBatch", Tag: tag, Summary: "The results of an asynchronous batch.",
			Description: "Those that are there so far, while it runs. After its node's death another one goes on: what is done isn't asked again.",
			Parameters:  []openapi.Parameter{{Name: "id", In: "path", Description: "As the 202 named it.", Schema: openapi.Text("")}},
			Responses: append([]openapi.Response{{Status: http.StatusOK, Description: "What is known of it.", Schema: runSchema("BatchRun", batchSchema())}},
				failures(http.StatusUnauthorized, http.StatusNotFound)...),
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
			Description: "In the current day, week (from Monday) or month of the project's time zone, up to the last request that was answered.",
			Parameters: []openapi.Parameter{
				{Name: "period", In: "query", Schema: &openapi.Schema{Type: openapi.String, Enum: periods(), Default: string(defaultPeriod)}},
				{Name: "group_by", In: "query", Description: "Adds by_key or by_day; by_model is always there. It chooses the lines of a CSV.", Schema: &openapi.Schema{Type: openapi.String, Enum: []string{groupModel, groupKey, groupDay}, Default: groupModel}},
				{Name: "format", In: "query", Description: "The header Accept: text/csv asks for CSV too.", Schema: &openapi.Schema{Type: openapi.String, Enum: []string{formatJSON, formatCSV}, Default: formatJSON}},
			},
			Responses: append([]openapi.Response{
				{Status: http.StatusOK, Description: "The report.", Schema: usageSchema()},
				{Status: http.StatusOK, Description: "The report.", ContentType: "text/csv", Schema: openapi.Text("One line for each group.")},
			}, failures(http.StatusBadRequest, http.StatusUnauthorized)...),
		},
		{
			Method: http.MethodGet, Path: pathProvider, ID: "providers", Tag: tag, Summary: "The providers: claudecode (the CLI) and anthropic (the Messages API).",
			Responses: append([]openapi.Response{{Status: http.StatusOK, Description: "All of them.", Schema: openapi.Members("ProvidersResponse", "",
				openapi.Always("providers", openapi.List(openapi.Members("Provider", "",
					openapi.Always("name", openapi.Text("As in the path.")),
					openapi.Always("display_name", openapi.Text("For people.")),
					openapi.Always("backend", openapi.Text("Its name in X-Claude-Backend.")),
					openapi.Always("available", openapi.Flag("It can serve now.")),
					openapi.Always("models", openapi.List(openapi.Text("An alias or a full id."))),
				))),
			)}}, failures(http.StatusUnauthorized)...),
		},
		{
			Method: http.MethodGet, Path: pathModels, ID: "providerModels", Tag: tag, Summary: "The models of a provider.",
			Parameters: []openapi.Parameter{{Name: "provider", In: "path", Schema: &openapi.Schema{Type: openapi.String}}},
			Responses: append([]openapi.Response{{Status: http.StatusOK, Description: "Its models.", Schema: openapi.Members("ProviderModelsResponse", "",
				openapi.Always("provider", openapi.Text("")),
				openapi.Always("available", openapi.Flag("It can serve now.")),
				openapi.Always("models", openapi.List(openapi.Members("ProviderModel", "",
					openapi.Always("id", openapi.Text("An alias or a full id.")),
					openapi.Always("name", openapi.Text("For people.")),
					openapi.Always("context_window", openapi.Nullable(openapi.Int("Tokens; null when not known."))),
					openapi.Always("max_tokens", openapi.Nullable(openapi.Int("The most that an answer may have; null when not known."))),
				))),
			)}}, failures(http.StatusUnauthorized, http.StatusNotFound)...),
		},
	}
}

func failures(statuses ...int) []openapi.Response {
	schema := openapi.Members("ProcessError", "", protocol.FlatError(openapi.Always)...)
	descriptions := map[int]string{
		http.StatusForbidden: protocol.Forbidden + " Or: " + protocol.BudgetIsSpent, http.StatusTooManyRequests: protocol.Limited,
		http.StatusNotImplemented: protocol.NoWork,
	}
	var responses []openapi.Response
	for _, status := range statuses {
		responses = append(responses, openapi.Response{Status: status, Description: descriptions[status], Schema: schema})
	}
	return responses
}

func tokenCounts() *openapi.Schema {
	return openapi.Members("ProcessUsage", "",
		openapi.Always("input_tokens", openapi.Int("Without what was read from or written to the cache.")),
		openapi.Always("output_tokens", openapi.Int("")),
		openapi.Always("total_tokens", openapi.Int("Input and output: what budgets count.")),
		openapi.Always("cache_read_input_tokens", openapi.Int("")),
		openapi.Always("cache_creation_input_tokens", openapi.Int("")),
	)
}

func processResponse() *openapi.Schema {
	return openapi.Members("ProcessResponse", "", answerMembers()...)
}

func answerMembers() []openapi.Property {
	return []openapi.Property{
		openapi.Always("content", openapi.Text("All text of the answer.")),
		openapi.Maybe("content_blocks", &openapi.Schema{Type: openapi.Array, Items: &openapi.Schema{Type: openapi.Object}, Description: "The content blocks of the Messages API, where there are others than text: tool_use, thinking."}),
		openapi.Always("model", openapi.Text("As asked.")),
		openapi.Always("provider", openapi.Text("As asked.")),
		openapi.Always("metadata", openapi.Members("ProcessMetadata", "",
			openapi.Always("actual_model", openapi.Text("The model that answered.")),
			openapi.Always("usage", tokenCounts()),
			openapi.Always("cost_usd", openapi.Nullable(openapi.Float("null when it isn't known."))),
			openapi.Always("processing_time", openapi.Float("Seconds, measured.")),
			openapi.Always("finish_reason", &openapi.Schema{Type: openapi.String, Enum: []string{"stop", "length", "tool_calls", "content_filter"}}),
			openapi.Maybe("mapped_from", openapi.Text("Which model stood in for another vendor's: `openai:gpt-4 → claudecode:sonnet`.")),
			openapi.Maybe("warnings", openapi.List(openapi.Text("What of the request couldn't be honoured."))),
		)),
	}
}

// eventSchema documents the data of the stream's events.
func eventSchema() *openapi.Schema {
	event := func(kind string, members ...openapi.Property) *openapi.Schema {
		name := openapi.Always("type", &openapi.Schema{Type: openapi.String, Enum: []string{kind}})
		return &openapi.Schema{Type: openapi.Object, Properties: append([]openapi.Property{name}, members...)}
	}
	content := openapi.Always("content", openapi.Text("A piece of the text."))
	return &openapi.Schema{Name: "ProcessEvent", Description: "The data of an event, whose name is its type.", AnyOf: []*openapi.Schema{
		event("token", content),
		event("thinking", content),
		event("tool_use", openapi.Always("id", openapi.Text("")), openapi.Always("name", openapi.Text("")), openapi.Always("input", &openapi.Schema{Type: openapi.Object})),
		event("done", answerMembers()...),
		event("error", protocol.FlatError(openapi.Always)...),
	}}
}

func acceptedSchema() *openapi.Schema {
	return openapi.Members("ProcessAccepted", "",
		openapi.Always("id", openapi.Text("")), openapi.Always("status", statusSchema()), openapi.Always("status_url", openapi.Text("Relative to the service's own.")),
	)
}

func statusSchema() *openapi.Schema {
	return &openapi.Schema{Type: openapi.String, Enum: []string{statusRunning, statusCompleted, statusFailed}}
}

func runSchema(name string, answer *openapi.Schema) *openapi.Schema {
	at := func() *openapi.Schema { return &openapi.Schema{Type: openapi.String, Format: "date-time"} }
	return openapi.Members(name, "", append([]openapi.Property{
		openapi.Always("id", openapi.Text("")),
		openapi.Always("status", statusSchema()),
		openapi.Always("created_at", at()),
		openapi.Maybe("completed_at", at()),
		openapi.Maybe("response", answer),
	}, protocol.FlatError(openapi.Maybe)...)...)
}

func batchSchema() *openapi.Schema {
	return openapi.Members("BatchResponse", "",
		openapi.Always("total", openapi.Int("")), openapi.Always("completed", openapi.Int("")), openapi.Always("failed", openapi.Int("")),
		openapi.Always("results", openapi.List(openapi.Members("BatchResult", "",
			openapi.Always("id", &openapi.Schema{Description: "As asked; else the place in the batch, from 0.", AnyOf: []*openapi.Schema{openapi.Text(""), openapi.Float("")}}),
			openapi.Always("prompt", openapi.Text("")),
			openapi.Always("status", &openapi.Schema{Type: openapi.String, Enum: []string{statusCompleted, statusFailed}}),
			openapi.Always("content", openapi.Nullable(openapi.Text("All text of the answer; null where it failed."))),
			openapi.Always("usage", openapi.Nullable(tokenCounts())),
			openapi.Always("cost", openapi.Nullable(openapi.Float("US dollars; null when it isn't known."))),
			openapi.Always("error", openapi.Nullable(openapi.Text("What went wrong; null where it succeeded."))),
		))),
		openapi.Always("total_cost", openapi.Float("US dollars: the known ones added up.")), openapi.Always("total_tokens", openapi.Int("Input and output.")),
	)
}

func routeSchema() *openapi.Schema {
	return openapi.Members("RouteResponse", "",
		openapi.Always("recommended_model", &openapi.Schema{Type: openapi.String, Enum: []string{"haiku", "sonnet", "opus"}}),
		openapi.Always("reasoning", openapi.Text("Which rule spoke.")),
		openapi.Always("budget_status", openapi.Members("RouteBudget", "",
			openapi.Always("limit", openapi.Nullable(openapi.Int("Tokens; null without a limit."))),
			openapi.Always("remaining", openapi.Nullable(openapi.Int(""))),
			openapi.Always("status", &openapi.Schema{Type: openapi.String, Enum: []string{budgetUnlimited, budgetOK, budgetLow, budgetSpent}}),
		)),
	)
}

func usageSchema() *openapi.Schema {
	counts := []openapi.Property{
		openapi.Always("input_tokens", openapi.Int("")), openapi.Always("output_tokens", openapi.Int("")), openapi.Always("cache_read_input_tokens", openapi.Int("")),
		openapi.Always("cache_creation_input_tokens", openapi.Int("")), openapi.Always("requests", openapi.Int("")),
		openapi.Always("unpriced_requests", openapi.Int("Those whose price isn't known; the cost leaves them out.")),
		openapi.Maybe("charged_tokens", openapi.Int("What budgets were charged beside the rest, for attempts of which too little is known. Absent: nothing.")),
		openapi.Maybe("charged_usd", openapi.Float("The same in US dollars.")),
	}
	groups := func(what string) *openapi.Schema {
		return &openapi.Schema{Type: openapi.Object, Description: what + ": `{tokens, cost}` and the counts that stand at the top too."}
	}
	return openapi.Members("UsageResponse", "", append(append([]openapi.Property{
		openapi.Always("project_id", openapi.Text("The key's.")),
		openapi.Always("period", &openapi.Schema{Type: openapi.String, Enum: periods()}),
		openapi.Always("since", &openapi.Schema{Type: openapi.String, Format: "date-time", Description: "The period's first moment."}),
		openapi.Always("total_tokens", openapi.Int("Input and output: what budgets count.")),
		openapi.Always("total_cost", openapi.Float("US dollars.")),
	}, counts...),
		openapi.Always("by_model", groups("By model")),
		openapi.Maybe("by_key", groups("By the key's id")),
		openapi.Maybe("by_day", groups("By date in the project's time zone")),
		openapi.Always("limit", openapi.Nullable(openapi.Int("The budget in tokens, of the key or its project, that leaves the least now, whatever its period; null without one."))),
		openapi.Always("remaining", openapi.Nullable(openapi.Int("What is left of it, beside what running requests hold."))),
	)...)
}
