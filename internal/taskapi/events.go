package taskapi

import (
	"context"
	"net/http"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/task"
)

// serveEvents gives a task's events, those that were and those to come.
func (h *Handler) serveEvents(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	after, err := task.After(r)
	if err != nil {
		return err
	}
	s := protocol.NewStream(w, protocol.SetHeader)
	watched, stop := s.Watch(r.Context(), call)
	defer stop()
	ctx, cancel := context.WithCancel(watched)
	defer cancel()
	defer context.AfterFunc(h.readers.life, cancel)()
	events, err := h.tasks.Events(ctx, call.Caller, r.PathValue("id"), after)
	if err != nil {
		return err
	}
	if err := h.readers.enter(call.Caller.KeyID); err != nil {
		return err
	}
	defer h.readers.leave(call.Caller.KeyID)
	return task.Follow(ctx, s, call, events, h.log)
}
