package taskapi

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/task"
)

// maxListed is how many tasks a page has at the most, and defaultListed where nobody
// says.
const (
	maxListed     = 1_000
	defaultListed = 100
)

// states are those that a list may be of.
func states() []string {
	return []string{string(job.Queued), string(job.Running), string(job.Completed), string(job.Failed), string(job.Cancelled)}
}

func (h *Handler) serveList(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	query := r.URL.Query()
	filter := job.Filter{State: job.State(query.Get("status")), Before: query.Get("before"), Limit: defaultListed}
	if filter.State != "" && !slices.Contains(states(), string(filter.State)) {
		return apierror.Invalid("status", "status: there is no such state")
	}
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxListed {
			return apierror.Invalid("limit", "limit: must be a number from 1 to %d", maxListed)
		}
		filter.Limit = n
	}
	most := filter.Limit
	filter.Limit++
	tasks, err := h.tasks.List(r.Context(), call.Caller, filter)
	if err != nil {
		return err
	}
	more := len(tasks) > most
	if more {
		tasks = tasks[:most]
	}
	protocol.SetHeader(w.Header(), call)
	return write(w, http.StatusOK, &struct {
		Tasks   []*task.View `json:"tasks"`
		HasMore bool         `json:"has_more"`
	}{tasks, more})
}

func (h *Handler) serveOne(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	v, err := h.tasks.Get(r.Context(), call.Caller, r.PathValue("id"))
	if err != nil {
		return err
	}
	protocol.SetHeader(w.Header(), call)
	return write(w, http.StatusOK, v)
}

// serveCancel ends a task, or forgets one that has ended.
func (h *Handler) serveCancel(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	id := r.PathValue("id")
	v, removed, err := h.tasks.Cancel(r.Context(), call.Caller, id)
	if err != nil {
		return err
	}
	protocol.SetHeader(w.Header(), call)
	switch {
	case removed:
		return write(w, http.StatusOK, &struct {
			ID      string `json:"id"`
			Deleted bool   `json:"deleted"`
		}{id, true})
	case v.Status.Ended():
		return write(w, http.StatusOK, v)
	}
	return write(w, http.StatusAccepted, v)
}

// approval is the body of an answer to a task's question.
type approval struct {
	task.Approval
}

var approvalObject = protocol.NewObject(
	openapi.Schema{Name: "TaskApproval"}, nil,
	protocol.Field[approval]{Name: "decision", Required: true, Schema: openapi.Words(task.Allow, task.Deny), Read: protocol.ReadString(func(a *approval) *string { return &a.Decision })},
	protocol.Field[approval]{Name: "reason", Schema: &openapi.Schema{Type: openapi.String, MaxLength: task.MaxReason, Description: "What the model is told of a refusal."}, Read: protocol.ReadString(func(a *approval) *string { return &a.Reason })},
	protocol.Field[approval]{Name: "input", Schema: &openapi.Schema{Type: openapi.Object, Description: "The tool's input, in place of the model's."}, Read: func(a *approval, s *protocol.Scanner) error {
		value, err := s.ObjectValue()
		if value != nil {
			a.Input = slices.Clone(value)
		}
		return err
	}},
)

func (h *Handler) serveApproval(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	a, err := read(h, w, r, approvalObject)
	if err != nil {
		return err
	}
	if a.N, err = strconv.Atoi(r.PathValue("n")); err != nil {
		return apierror.Invalid("n", "n: must be the number of a question")
	}
	id := r.PathValue("id")
	if err := h.tasks.Answer(r.Context(), call, id, a.Approval); err != nil {
		return err
	}
	protocol.SetHeader(w.Header(), call)
	return write(w, http.StatusOK, &struct {
		ID       string         `json:"id"`
		N        int            `json:"n"`
		Decision string         `json:"decision"`
		Reason   string         `json:"reason,omitzero"`
		Input    jsontext.Value `json:"input,omitzero"`
	}{id, a.N, a.Decision, a.Reason, a.Input})
}

func (h *Handler) serveArtifacts(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	artifacts, err := h.tasks.Artifacts(r.Context(), call.Caller, r.PathValue("id"))
	if err != nil {
		return err
	}
	protocol.SetHeader(w.Header(), call)
	return write(w, http.StatusOK, &struct {
		Artifacts []task.Artifact `json:"artifacts"`
	}{artifacts})
}

func (h *Handler) serveArtifact(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	file, about, err := h.tasks.Artifact(r.Context(), call.Caller, r.PathValue("id"), r.PathValue("path"))
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	protocol.SetHeader(w.Header(), call)
	if err := task.WriteFile(w, file, about); err != nil {
		protocol.Log(r.Context(), h.log, call.RequestID, err) // what has left can't be taken back
	}
	return nil
}
