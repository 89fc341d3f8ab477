package taskapi

import (
	"context"
	"errors"
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
	s.Start(call)
	err = s.Write([]byte(": events\n\n")) // so that the header leaves
	if err == nil {
		err = s.Flush()
	}
	if err != nil {
		return nil //nolint:nilerr // the caller has left, and isn't told
	}
	// Nothing refuses it any more: heartbeats follow.
	if err := call.Admitted(); err != nil {
		return err
	}
	frame := make([]byte, 0, 512)
	for e, err := range events {
		if err == nil {
			frame = task.AppendFrame(frame[:0], e)
			err = s.Write(frame)
		}
		if err == nil {
			err = s.Flush()
		}
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, context.Canceled) {
				protocol.Log(ctx, h.log, call.RequestID, err)
			}
			break // whoever reads comes again
		}
	}
	_ = s.Close(call) // a caller who left isn't told
	return nil
}
