package taskapi

import (
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/task"
)

// tag is the family that the operations belong to.
const tag = "Tasks"

// Operations documents the endpoints.
func (h *Handler) Operations() []openapi.Operation {
	id := openapi.Parameter{Name: "id", In: "path", Description: "As the answer to POST /v1/task named it.", Schema: openapi.Text("")}
	one := viewSchema("Task")
	events := eventSchema(one)
	return []openapi.Operation{
		{
			Method: http.MethodPost, Path: pathTask, ID: "task", Tag: tag,
			Summary: "Have an agent do a task.",
			Description: "An agent works on the real CLI with the tools, agents and skills that the key's profile allows, in a folder. " +
				"Once it has begun, the answer is 200, and `status` says what became of it. White space may come before the answer, to keep the connection alive. " +
				"With `stream`, the answer is a stream of server-sent events; the task ends when its caller leaves. " +
				"With `async`, it is 202, and the task goes on whatever happens: to its caller, or to the service.",
			Parameters: []openapi.Parameter{protocol.OnceParameter()}, Request: taskObject.Schema(),
			Example: jsontext.Value(`{"description":"List the three largest files here.","allow_tools":["Bash(ls:*)","Glob"],"timeout":300,"max_cost":0.5}`),
			Responses: protocol.WithHeaders(true, nil, append([]openapi.Response{
				{Status: http.StatusOK, Description: "The task has ended, well or not.", Schema: one},
				{Status: http.StatusOK, Description: "The task has begun.", ContentType: openapi.EventStream, Schema: events},
				{Status: http.StatusAccepted, Description: "The task is queued, durably. Location says where it is.", Schema: viewSchema("TaskAccepted",
					openapi.Always("status_url", openapi.Text("Its path.")), openapi.Always("events_url", openapi.Text("The path of its events.")))},
			}, failures(http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity,
				http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusNotImplemented, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout)...)),
		},
		{
			Method: http.MethodGet, Path: pathTasks, ID: "tasks", Tag: tag, Summary: "The key's tasks, the newest first.",
			Parameters: []openapi.Parameter{
				{Name: "status", In: "query", Schema: openapi.Words(states()...)},
				{Name: "limit", In: "query", Schema: &openapi.Schema{Type: openapi.Integer, Minimum: 1, Maximum: maxListed, Default: defaultListed}},
				{Name: "before", In: "query", Description: "The id of a task: only those that came before it. The way to the next page.", Schema: openapi.Text("")},
			},
			Responses: append([]openapi.Response{{Status: http.StatusOK, Description: "A page of them, without what they gave.", Schema: openapi.Members("TaskList", "",
				openapi.Always("tasks", openapi.List(viewSchema("TaskListed"))),
				openapi.Always("has_more", openapi.Flag("There are further ones.")),
			)}}, failures(http.StatusBadRequest, http.StatusUnauthorized)...),
		},
		{
			Method: http.MethodGet, Path: pathOne, ID: "getTask", Tag: tag, Summary: "What is known of a task.",
			Description: "What it gave, with its execution log, is there when it has ended; its events tell what happens before. What a running task asks is in `approvals`.",
			Parameters:  []openapi.Parameter{id},
			Responses:   append([]openapi.Response{{Status: http.StatusOK, Description: "The task.", Schema: one}}, failures(http.StatusUnauthorized, http.StatusNotFound)...),
		},
		{
			Method: http.MethodDelete, Path: pathOne, ID: "cancelTask", Tag: tag, Summary: "End a task, or forget one that has ended.",
			Parameters: []openapi.Parameter{id},
			Responses: append([]openapi.Response{
				{Status: http.StatusOK, Description: "It is cancelled, or with `deleted` forgotten, with its events and artifacts.", Schema: &openapi.Schema{AnyOf: []*openapi.Schema{one, openapi.Members("TaskDeleted", "",
					openapi.Always("id", openapi.Text("")), openapi.Always("deleted", openapi.Flag("")))}}},
				{Status: http.StatusAccepted, Description: "It is ending.", Schema: one},
			}, failures(http.StatusUnauthorized, http.StatusNotFound, http.StatusConflict)...),
		},
		{
			Method: http.MethodGet, Path: pathEvents, ID: "taskEvents", Tag: tag, Summary: "A task's events, those that were and those to come.",
			Description: "The stream ends behind the last event, `result` or `error`. Whoever is cut off goes on with the `Last-Event-ID` header, as browsers do by themselves; " +
				"`token` events have no id and aren't repeated.",
			Parameters: []openapi.Parameter{
				id,
				{Name: task.HeaderLastEvent, In: "header", Description: "The id of the last event that was read.", Schema: openapi.Int("")},
				{Name: "after", In: "query", Description: "The same, for those who can't set a header.", Schema: openapi.Int("")},
			},
			Responses: append([]openapi.Response{{Status: http.StatusOK, Description: "The events.", ContentType: openapi.EventStream, Schema: events}}, failures(http.StatusBadRequest, http.StatusUnauthorized, http.StatusNotFound, http.StatusTooManyRequests)...),
		},
		{
			Method: http.MethodPost, Path: pathApproval, ID: "answerTask", Tag: tag, Summary: "Allow a task the use of a tool, or deny it.",
			Description: "For a task with `approval: \"ask\"`. The first answer counts. Nobody's answer in time is a refusal.",
			Parameters:  []openapi.Parameter{id, {Name: "n", In: "path", Description: "The question's number, as its `approval` event and the task's `approvals` have it.", Schema: openapi.Int("")}},
			Request:     approvalObject.Schema(), Example: jsontext.Value(`{"decision":"allow"}`),
			Responses: append([]openapi.Response{{Status: http.StatusOK, Description: "The answer counts.", Schema: openapi.Members("TaskAnswered", "",
				openapi.Always("id", openapi.Text("")), openapi.Always("n", openapi.Int("")), openapi.Always("decision", openapi.Words(task.Allow, task.Deny)),
				openapi.Maybe("reason", openapi.Text("")), openapi.Maybe("input", &openapi.Schema{Type: openapi.Object}),
			)}}, failures(http.StatusBadRequest, http.StatusUnauthorized, http.StatusNotFound, http.StatusConflict)...),
		},
		{
			Method: http.MethodGet, Path: pathArtifacts, ID: "taskArtifacts", Tag: tag, Summary: "The files that a task has created or changed.",
			Parameters: []openapi.Parameter{id},
			Responses: append([]openapi.Response{{Status: http.StatusOK, Description: "None before it has ended.", Schema: openapi.Members("TaskArtifacts", "",
				openapi.Always("artifacts", openapi.List(artifactSchema())))}}, failures(http.StatusUnauthorized, http.StatusNotFound)...),
		},
		{
			Method: http.MethodGet, Path: pathArtifact, ID: "taskArtifact", Tag: tag, Summary: "One of them, as it was when the task ended.",
			Parameters: []openapi.Parameter{id, {Name: "path", In: "path", Description: "As listed, with its slashes.", Schema: openapi.Text("")}},
			Responses: append([]openapi.Response{{Status: http.StatusOK, Description: "Its content.", ContentType: "application/octet-stream", Schema: &openapi.Schema{Type: openapi.String}}},
				failures(http.StatusUnauthorized, http.StatusNotFound)...),
		},
	}
}

func failures(statuses ...int) []openapi.Response {
	schema := openapi.Members("TaskError", "", protocol.FlatError(openapi.Always)...)
	descriptions := map[int]string{
		http.StatusForbidden:       "The key or its profile doesn't allow it; `param` names the member. Or: " + protocol.BudgetIsSpent,
		http.StatusConflict:        "The task has ended, the question was answered, or the Idempotency-Key's first request runs.",
		http.StatusTooManyRequests: protocol.Limited + " Or: too many tasks of the key wait, or are followed.",
		http.StatusNotImplemented:  "There is no CLI here, or tasks are switched off.",
	}
	var responses []openapi.Response
	for _, status := range statuses {
		responses = append(responses, openapi.Response{Status: status, Description: descriptions[status], Schema: schema})
	}
	return responses
}

func moment(description string) *openapi.Schema {
	return &openapi.Schema{Type: openapi.String, Description: description + " (RFC 3339)."}
}

// anyJSON is the schema of a value that can be anything.
func anyJSON(description string) *openapi.Schema { return &openapi.Schema{Description: description} }

func artifactSchema() *openapi.Schema {
	return openapi.Members("TaskArtifact", "",
		openapi.Always("path", openapi.Text("Below the task's folder, with slashes.")),
		openapi.Always("bytes", openapi.Int("")),
		openapi.Always("change", openapi.Words("created", "modified")),
		openapi.Maybe("sha256", openapi.Text("Hexadecimal.")),
		openapi.Always("kept", openapi.Flag("It can be downloaded: together, artifacts are kept up to a size.")),
		openapi.Always("modified_at", moment("When it was changed last")),
		openapi.Maybe("run", openapi.Text("The run of the task that wrote it last: the task's id, and the run's number behind it.")),
	)
}

func logSchema() *openapi.Schema {
	return openapi.Members("TaskLogEntry", "A tool that was called, or what it gave.",
		openapi.Always("type", openapi.Words(task.EventToolUse, task.EventToolResult)),
		openapi.Always("time", moment("When it happened")),
		openapi.Always("tool", openapi.Text("The CLI's name of it.")),
		openapi.Always("tool_use_id", openapi.Text("The same for a call and its result.")),
		openapi.Maybe("input", anyJSON("As the model wrote it; beyond 8 KiB a text, its beginning.")),
		openapi.Maybe("output", anyJSON("A text or content blocks; beyond 8 KiB the beginning. Events have it whole, up to 1 MiB.")),
		openapi.Always("is_error", openapi.Flag("")),
		openapi.Maybe("parent", openapi.Text("The tool_use_id that started the agent which did it; absent: the task itself.")),
		openapi.Maybe("agent", openapi.Text("That agent's name.")),
	)
}

// resultMembers are those of a task that has ended.
func resultMembers() []openapi.Property {
	return []openapi.Property{
		openapi.Maybe("result", openapi.Text("The last answer's text.")),
		openapi.Maybe("execution_log", openapi.List(logSchema())),
		openapi.Maybe("execution_log_omitted", openapi.Int("How many entries there was no room for.")),
		openapi.Maybe("artifacts", openapi.List(artifactSchema())),
		openapi.Maybe("usage", openapi.Members("TaskUsage", "Of all of the task's calls, those of its agents too.",
			openapi.Always("input_tokens", openapi.Int("")), openapi.Always("output_tokens", openapi.Int("")), openapi.Always("total_tokens", openapi.Int("")),
			openapi.Always("cache_read_input_tokens", openapi.Int("")), openapi.Always("cache_creation_input_tokens", openapi.Int("")))),
		openapi.Maybe("cost_usd", openapi.Nullable(openapi.Float("null: not known."))),
		openapi.Maybe("model", openapi.Text("")),
		openapi.Maybe("turns", openapi.Int("How often the model was asked.")),
		openapi.Maybe("stop_reason", openapi.Words("end_turn", "max_turns", "max_cost")),
		openapi.Maybe("session_id", openapi.Text("The CLI's.")),
		openapi.Maybe("denied", openapi.List(openapi.Members("TaskDenial", "The use of a tool that wasn't allowed.",
			openapi.Always("tool", openapi.Text("")), openapi.Always("tool_use_id", openapi.Text("")), openapi.Maybe("input", anyJSON("")), openapi.Maybe("parent", openapi.Text(""))))),
		openapi.Maybe("warnings", openapi.List(openapi.Text("What went wrong on the way, in any of the task's runs."))),
	}
}

func questionSchema() *openapi.Schema {
	return openapi.Members("TaskQuestion", "The use of a tool that a running task waits for somebody to allow.",
		openapi.Always("n", openapi.Int("The question's number.")),
		openapi.Always("tool", openapi.Text("The CLI's name of it.")),
		openapi.Always("tool_use_id", openapi.Text("")),
		openapi.Maybe("input", anyJSON("As the model wrote it; beyond 8 KiB a text, its beginning.")),
		openapi.Maybe("parent", openapi.Text("The tool_use_id that started the agent which asks; absent: the task itself.")),
		openapi.Maybe("agent", openapi.Text("That agent's name.")),
		openapi.Always("expires_at", moment("When it is denied by itself")),
	)
}

func viewSchema(name string, further ...openapi.Property) *openapi.Schema {
	members := append([]openapi.Property{
		openapi.Always("id", openapi.Text("")),
		openapi.Always("status", openapi.Words(states()...)),
		openapi.Maybe("description", openapi.Text("")),
		openapi.Always("created_at", moment("When it came")),
		openapi.Maybe("started_at", moment("When its last run began")),
		openapi.Maybe("ended_at", moment("When it ended")),
		openapi.Maybe("expires_at", moment("When it is forgotten")),
		openapi.Always("attempt", openapi.Int("How often it was begun.")),
		openapi.Maybe("cancelling", openapi.Flag("It is to end.")),
		openapi.Maybe("approvals", openapi.List(questionSchema())),
	}, resultMembers()...)
	members = append(members, protocol.FlatError(openapi.Maybe)...)
	return openapi.Members(name, "", append(members, further...)...)
}

// eventSchema documents the data of events.
func eventSchema(one *openapi.Schema) *openapi.Schema {
	of := func(kind, description string, members ...openapi.Property) *openapi.Schema {
		return &openapi.Schema{Type: openapi.Object, Description: description, Properties: append([]openapi.Property{openapi.Always("type", openapi.Words(kind))}, members...)}
	}
	content := openapi.Always("content", openapi.Text(""))
	tool := []openapi.Property{
		openapi.Always("tool", openapi.Text("")), openapi.Always("tool_use_id", openapi.Text("")),
		openapi.Maybe("parent", openapi.Text("")), openapi.Maybe("agent", openapi.Text("")),
	}
	with := func(members ...openapi.Property) []openapi.Property {
		return append(tool[:len(tool):len(tool)], members...)
	}
	number := openapi.Always("n", openapi.Int("The question's number."))
	return &openapi.Schema{Name: "TaskEvent", Description: "The data of an event, whose name is its type.", AnyOf: []*openapi.Schema{
		of(task.EventStatus, "The task begins, waits, or goes on.", openapi.Always("status", openapi.Text("starting, running, queued; and before a further run resuming, with the session, restarting, from the beginning, or interrupted: it can't go on")), openapi.Maybe("id", openapi.Text("The task's.")),
			openapi.Maybe("attempt", openapi.Int("")), openapi.Maybe("model", openapi.Text("")), openapi.Maybe("session_id", openapi.Text("")), openapi.Maybe("tools", openapi.List(openapi.Text(""))), openapi.Maybe("reason", openapi.Text(""))),
		of(task.EventToken, "A piece of what a later text holds whole. It isn't kept.", content),
		of(task.EventThinking, "", content),
		of(task.EventText, "", content),
		of(task.EventToolUse, "", with(openapi.Maybe("input", anyJSON("")))...),
		of(task.EventToolResult, "", with(openapi.Maybe("output", anyJSON("")), openapi.Always("is_error", openapi.Flag("")))...),
		of(task.EventApproval, "The task asks whether it may use a tool.", with(number, openapi.Maybe("input", anyJSON("")), openapi.Always("expires_at", moment("When it is denied by itself")))...),
		of(task.EventResolved, "", with(number, openapi.Always("decision", openapi.Words(task.Allow, task.Deny)), openapi.Always("by", openapi.Words("caller", "timeout")), openapi.Maybe("reason", openapi.Text("")))...),
		of(task.EventWarning, "", content),
		of(task.EventResult, "The task has ended well; all of it is there, as GET gives it.", one.Properties...),
		of(task.EventError, "The task has ended otherwise.", append(protocol.FlatError(openapi.Always), openapi.Maybe("result", openapi.Text("")))...),
	}}
}
