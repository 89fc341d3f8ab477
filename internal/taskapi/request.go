package taskapi

import (
	"net/http"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/task"
)

// maxWarnings is how many unknown members are named.
const maxWarnings = 16

// taskRequest is the body of POST /v1/task.
type taskRequest struct {
	task.Request
	stream, async bool
	unknown       []string
}

// taskObject is its table. It is never changed.
var taskObject = protocol.NewObject(
	openapi.Schema{Name: "TaskRequest"},
	func(t *taskRequest, s *protocol.Scanner, name string) error {
		if err := task.Misnamed(name); err != nil {
			return err
		}
		if s.Kind() != 'n' && len(t.unknown) < maxWarnings {
			t.unknown = append(t.unknown, name[:min(len(name), 64)]+": has no effect here")
		}
		return s.Skip()
	},
	append(
		task.Fields(func(t *taskRequest) *task.Request { return &t.Request }),
		protocol.Field[taskRequest]{Name: "stream", Schema: openapi.Flag("Answer with the task's events as they happen."), Read: protocol.ReadFlag(func(t *taskRequest) *bool { return &t.stream })},
		protocol.Field[taskRequest]{Name: "async", Schema: openapi.Flag("Answer 202 once the task is queued, durably."), Read: protocol.ReadFlag(func(t *taskRequest) *bool { return &t.async })},
	)...,
)

// read reads a request's body with a table.
func read[T any](h *Handler, w http.ResponseWriter, r *http.Request, table *protocol.Object[T]) (*T, error) {
	body, err := protocol.ReadBody(w, r, h.options.MaxBody)
	if err != nil {
		return nil, err
	}
	scanner := h.scanners.Get(body)
	defer h.scanners.Put(scanner)
	into := new(T)
	return into, table.Document(scanner, into)
}

func (h *Handler) readTask(w http.ResponseWriter, r *http.Request) (*taskRequest, error) {
	t, err := read(h, w, r, taskObject)
	if err == nil && t.stream && t.async {
		err = apierror.Invalid("async", "async: can't be combined with stream; the events of the task can be followed")
	}
	return t, err
}
