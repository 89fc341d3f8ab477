package adminapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/task"
)

const (
	pathTasks     = "/admin/v1/tasks"
	pathTask      = "/admin/v1/tasks/{id}"
	pathEvents    = "/admin/v1/tasks/{id}/events"
	pathApproval  = "/admin/v1/tasks/{id}/approvals/{n}"
	pathArtifacts = "/admin/v1/tasks/{id}/artifacts"
	pathArtifact  = "/admin/v1/tasks/{id}/artifacts/{path}"
	// artifactRoute is pathArtifact as the mux writes it: a path may have slashes.
	artifactRoute = "/admin/v1/tasks/{id}/artifacts/{path...}"
)

// Actions of the audit log. What is answered to a task's question is task.Approved or
// task.Denied.
const (
	TaskCancelled = "task.cancelled"
	TaskForgotten = "task.forgotten"
)

func taskStates() []string {
	return []string{string(job.Queued), string(job.Running), string(job.Completed), string(job.Failed), string(job.Cancelled)}
}

func (h *Handler) taskEndpoints() []endpoint {
	id := openapi.Parameter{Name: "id", In: "path", Schema: openapi.Text("")}
	view := openapi.Members("AdminTask", "A task as its key sees it at `/v1/tasks`, and whose it is.",
		openapi.Always("id", openapi.Text("")), openapi.Always("key_id", openapi.Text("")), openapi.Always("project_id", openapi.Text("")),
		openapi.Always("status", openapi.Words(taskStates()...)), openapi.Maybe("description", openapi.Text("What was asked for; in a list its beginning.")),
		openapi.Always("created_at", instant("")), openapi.Maybe("started_at", instant("")), openapi.Maybe("ended_at", instant("")))
	events := &openapi.Schema{Type: openapi.String}
	return []endpoint{
		{
			Operation: openapi.Operation{
				Method: http.MethodGet, Path: pathTasks, ID: "adminTasks", Summary: "The tasks of all keys, the newest first.",
				Parameters: []openapi.Parameter{
					{Name: "state", In: "query", Schema: openapi.Words(taskStates()...)}, limitParameter(),
					{Name: "before", In: "query", Description: "The id of a task: only those that came before it. `next` is the way to the next page.", Schema: openapi.Text("")},
				},
				Responses: answers(http.StatusOK, "A page, without what they gave.", openapi.Members("AdminTaskList", "",
					openapi.Always("tasks", openapi.List(view)), openapi.Always("next", openapi.Nullable(openapi.Text("Is `before` of the next page. null: there is none."))))),
			},
			serve: h.listTasks,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodGet, Path: pathTask, ID: "adminTask", Summary: "What is known of a task.",
				Parameters: []openapi.Parameter{id}, Responses: answers(http.StatusOK, "With all that `GET /v1/tasks/{id}` tells.", view),
			},
			serve: h.showTask,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodDelete, Path: pathTask, ID: "adminCancelTask", Summary: "End a task, or forget one that has ended.",
				Parameters: []openapi.Parameter{id},
				Responses: append(answers(http.StatusOK, "It is cancelled, or with `deleted` forgotten.", view),
					openapi.Response{Status: http.StatusAccepted, Description: "It is ending.", Schema: view}),
			},
			serve: h.cancelTask,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodGet, Path: pathEvents, ID: "adminTaskEvents", Summary: "A task's events, those that were and those to come.",
				Description: "As at `/v1/tasks/{id}/events`.",
				Parameters: []openapi.Parameter{
					id, {Name: task.HeaderLastEvent, In: "header", Description: "The id of the last event that was read.", Schema: openapi.Int("")},
					{Name: "after", In: "query", Description: "The same, for those who can't set a header.", Schema: openapi.Int("")},
				},
				Responses: append([]openapi.Response{{Status: http.StatusOK, Description: "The events.", ContentType: openapi.EventStream, Schema: events}}, answers(http.StatusOK, "", nil)[1:]...),
			},
			serve: h.followTask,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodPost, Path: pathApproval, ID: "adminAnswerTask", Summary: "Allow a task the use of a tool, or deny it.",
				Parameters: []openapi.Parameter{id, {Name: "n", In: "path", Description: "The question's number.", Schema: openapi.Int("")}},
				Request: openapi.Members("AdminTaskAnswer", "", openapi.Always("decision", openapi.Words(task.Allow, task.Deny)),
					openapi.Maybe("message", &openapi.Schema{Type: openapi.String, MaxLength: task.MaxReason, Description: "What the model is told of a refusal."}),
					openapi.Maybe("input", &openapi.Schema{Type: openapi.Object, Description: "The tool's input, in place of the model's."})),
				Example: jsontext.Value(`{"decision":"allow"}`), Responses: withConflict(answers(http.StatusNoContent, "The answer counts.", nil)),
			},
			serve: h.answerTask,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodGet, Path: pathArtifacts, ID: "adminTaskArtifacts", Summary: "The files that a task has created or changed.",
				Parameters: []openapi.Parameter{id},
				Responses: answers(http.StatusOK, "None before it has ended.", openapi.Members("AdminTaskArtifacts", "", openapi.Always("artifacts", openapi.List(openapi.Members("AdminTaskArtifact", "",
					openapi.Always("path", openapi.Text("Below the task's folder, with slashes.")), openapi.Always("bytes", openapi.Int("")), openapi.Always("change", openapi.Words("created", "modified")),
					openapi.Maybe("sha256", openapi.Text("Hexadecimal.")), openapi.Always("kept", openapi.Flag("It can be downloaded.")), openapi.Always("modified_at", instant("")),
					openapi.Maybe("run", openapi.Text("The run that wrote it last.")),
				))))),
			},
			serve: h.listArtifacts,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodGet, Path: pathArtifact, ID: "adminTaskArtifact", Summary: "One of them, as it was when the task ended.",
				Parameters: []openapi.Parameter{id, {Name: "path", In: "path", Schema: openapi.Text("")}},
				Responses: append([]openapi.Response{{Status: http.StatusOK, Description: "Its content.", ContentType: "application/octet-stream", Schema: &openapi.Schema{Type: openapi.String}}},
					answers(http.StatusOK, "", nil)[1:]...),
			},
			serve: h.serveArtifact, route: artifactRoute,
		},
	}
}

// withConflict adds the status of what can't be done as things stand.
func withConflict(all []openapi.Response) []openapi.Response {
	return append(all, openapi.Response{Status: http.StatusConflict, Description: "As things stand, it can't be done.", Schema: all[len(all)-1].Schema})
}

func (h *Handler) listTasks(w http.ResponseWriter, r *http.Request, _ *administrator) error {
	limit, err := pageOf(r)
	if err != nil {
		return err
	}
	query := r.URL.Query()
	filter := job.Filter{State: job.State(query.Get("state")), Before: query.Get("before"), Limit: limit + 1}
	if filter.State != "" && !slices.Contains(taskStates(), string(filter.State)) {
		return apierror.Invalid("state", "state: there is no such state")
	}
	tasks, err := h.options.Tasks.All(r.Context(), filter)
	if err != nil {
		return err
	}
	var next *string
	if len(tasks) > limit {
		tasks = tasks[:limit]
		next = &tasks[limit-1].ID
	}
	return write(w, http.StatusOK, struct {
		Tasks []task.Owned `json:"tasks"`
		Next  *string      `json:"next"`
	}{tasks, next})
}

// writeTask answers with a task. What a tool has written may not be UTF-8.
func writeTask(w http.ResponseWriter, status int, value any) error {
	body, err := json.Marshal(value, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return fmt.Errorf("encode task: %w", err)
	}
	_ = protocol.WriteJSON(w, status, body) // a caller who left isn't told
	return nil
}

func (h *Handler) showTask(w http.ResponseWriter, r *http.Request, _ *administrator) error {
	id := r.PathValue("id")
	owner, err := h.options.Tasks.Owner(r.Context(), id)
	if err != nil {
		return err
	}
	v, err := h.options.Tasks.Get(r.Context(), owner, id)
	if err != nil {
		return err
	}
	return writeTask(w, http.StatusOK, task.Owned{KeyID: owner.KeyID, ProjectID: owner.ProjectID, View: v})
}

// cancelTask ends a task, or forgets one that has ended.
func (h *Handler) cancelTask(w http.ResponseWriter, r *http.Request, who *administrator) error {
	id := r.PathValue("id")
	owner, err := h.options.Tasks.Owner(r.Context(), id)
	if err != nil {
		return err
	}
	v, removed, err := h.options.Tasks.Cancel(r.Context(), owner, id)
	if errors.Is(err, job.ErrRunning) {
		return &apierror.Error{Category: apierror.BadRequest, Code: codeConflict, Message: "the task runs again", Cause: err}
	}
	if err != nil {
		return err
	}
	action := TaskCancelled
	if removed {
		action = TaskForgotten
	}
	// It is done whether whoever did it waits or not.
	if err := h.note(context.WithoutCancel(r.Context()), who, audit.Event{Action: action, Target: id, Project: owner.ProjectID}); err != nil {
		return err
	}
	switch {
	case removed:
		return write(w, http.StatusOK, struct {
			ID      string `json:"id"`
			Deleted bool   `json:"deleted"`
		}{id, true})
	case v.Status.Ended():
		return writeTask(w, http.StatusOK, task.Owned{KeyID: owner.KeyID, ProjectID: owner.ProjectID, View: v})
	}
	return writeTask(w, http.StatusAccepted, task.Owned{KeyID: owner.KeyID, ProjectID: owner.ProjectID, View: v})
}

func (h *Handler) answerTask(w http.ResponseWriter, r *http.Request, who *administrator) error {
	var wish struct {
		Decision string         `json:"decision"`
		Message  string         `json:"message"`
		Input    jsontext.Value `json:"input"`
	}
	if err := read(w, r, &wish); err != nil {
		return err
	}
	n, err := strconv.Atoi(r.PathValue("n"))
	if err != nil {
		return apierror.Invalid("n", "n: must be the number of a question")
	}
	id := r.PathValue("id")
	owner, err := h.options.Tasks.Owner(r.Context(), id)
	if err != nil {
		return err
	}
	err = h.options.Tasks.AnswerFor(r.Context(), owner, id, task.Approval{N: n, Decision: wish.Decision, Reason: wish.Message, Input: wish.Input})
	if err != nil {
		return renamed(err, rename{"reason", "message"})
	}
	action := task.Denied
	if wish.Decision == task.Allow {
		action = task.Approved
	}
	event := audit.Event{Action: action, Target: id, Project: owner.ProjectID, Detail: fmt.Sprintf("question %d", n)}
	if err := h.note(context.WithoutCancel(r.Context()), who, event); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *Handler) listArtifacts(w http.ResponseWriter, r *http.Request, _ *administrator) error {
	id := r.PathValue("id")
	owner, err := h.options.Tasks.Owner(r.Context(), id)
	if err != nil {
		return err
	}
	artifacts, err := h.options.Tasks.Artifacts(r.Context(), owner, id)
	if err != nil {
		return err
	}
	return writeTask(w, http.StatusOK, struct {
		Artifacts []task.Artifact `json:"artifacts"`
	}{artifacts})
}

func (h *Handler) serveArtifact(w http.ResponseWriter, r *http.Request, who *administrator) error {
	id := r.PathValue("id")
	owner, err := h.options.Tasks.Owner(r.Context(), id)
	if err != nil {
		return err
	}
	file, about, err := h.options.Tasks.Artifact(r.Context(), owner, id, r.PathValue("path"))
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if err := task.WriteFile(w, file, about); err != nil {
		protocol.Log(r.Context(), h.log, who.RequestID, err) // what has left can't be taken back
	}
	return nil
}

// followTask gives a task's events, those that were and those to come.
func (h *Handler) followTask(w http.ResponseWriter, r *http.Request, who *administrator) error {
	after, err := task.After(r)
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	owner, err := h.options.Tasks.Owner(r.Context(), id)
	if err != nil {
		return err
	}
	if err := h.enterStream(); err != nil {
		return err
	}
	defer h.leaveStream()
	call := &gateway.Call{RequestID: who.RequestID, Endpoint: pathEvents, Clock: latency.Start()}
	s := protocol.NewStream(w, quiet)
	watched, stop := s.Watch(r.Context(), call)
	defer stop()
	ctx, cancel := h.lasting(watched, who)
	defer cancel()
	events, err := h.options.Tasks.Events(ctx, owner, id, after)
	if err != nil {
		return err
	}
	return task.Follow(ctx, s, call, events, h.log)
}

// quiet says nothing of a call in the header.
func quiet(http.Header, *gateway.Call) {}

// lasting gives a context that ends with the other one, with the service, and as soon as
// it isn't known that whoever asked might ask still. end must be called.
func (h *Handler) lasting(ctx context.Context, who *administrator) (lasts context.Context, end func()) {
	lasts, cancel := context.WithCancel(ctx)
	unwatch := context.AfterFunc(h.shared.life, cancel)
	lasts, unlook := h.watched(lasts, who, func(error) bool { return true })
	return lasts, func() { cancel(); unwatch(); unlook() }
}

// allowed gives a context that ends with the other one, and as soon as whoever asked might
// not ask any more: not because that can't be found out, for it is for work that costs.
func (h *Handler) allowed(ctx context.Context, who *administrator) (lasts context.Context, end func()) {
	return h.watched(ctx, who, func(err error) bool {
		category := apierror.From(err).Category
		return category == apierror.AuthError || category == apierror.Permission
	})
}

// watched gives a context that ends with the other one, and when a look at who asked
// brings an error that is one for an end.
func (h *Handler) watched(ctx context.Context, who *administrator, over func(err error) bool) (lasts context.Context, end func()) {
	lasts, cancel := context.WithCancel(ctx)
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-lasts.Done():
				return
			case <-ticker.C:
				if err := h.still(lasts, who); err != nil && over(err) {
					cancel()
				}
			}
		}
	}()
	return lasts, func() { cancel(); <-looked }
}
