package task

import (
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"strconv"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/protocol"
)

// Stream runs a task, as Run does, and writes its events to s, the last one too. What
// fails before anything is written is an error for the answer; what fails later travels in
// the stream, and the error is that of the stream's end.
func (t *Tasks) Stream(ctx context.Context, s *protocol.Stream, g *gateway.Gateway, call *gateway.Call, r *Request, log *slog.Logger) error {
	watched, stop := s.Watch(ctx, call)
	defer stop()
	frame := make([]byte, 0, 512)
	_, last, err := t.Run(watched, g, call, r, func(e job.Event) error {
		s.Start(call)
		frame = AppendFrame(frame[:0], e)
		if err := s.Write(frame); err != nil {
			return err
		}
		return s.Flush()
	})
	stop()
	switch {
	case err == nil:
		s.Start(call)
		_ = s.Write(AppendFrame(frame[:0], last)) // a caller who left isn't told
	case !s.Started():
		return err
	default:
		protocol.Log(ctx, log, call.RequestID, err)
		frame = append(frame[:0], "event: error\ndata: {\"type\":\"error\","...)
		_ = s.Write(append(protocol.AppendFlatError(frame, apierror.From(err)), "}\n\n"...))
	}
	return s.Close(call)
}

// Follow writes the events of a task to s until they or ctx end. s must be watched: heartbeats
// come between the events. What fails is logged: whoever reads comes again.
func Follow(ctx context.Context, s *protocol.Stream, call *gateway.Call, events iter.Seq2[job.Event, error], log *slog.Logger) error {
	s.Start(call)
	err := s.Write([]byte(": events\n\n")) // so that the header leaves
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
			frame = AppendFrame(frame[:0], e)
			err = s.Write(frame)
		}
		if err == nil {
			err = s.Flush()
		}
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, context.Canceled) {
				protocol.Log(ctx, log, call.RequestID, err)
			}
			break
		}
	}
	_ = s.Close(call) // a caller who left isn't told
	return nil
}

// WriteFile answers with a file that a task has written, which no browser is to run.
func WriteFile(w http.ResponseWriter, file io.Reader, about Artifact) error {
	header := w.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set("Content-Disposition", "attachment")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "sandbox")
	header.Set("Content-Length", strconv.FormatInt(about.Bytes, 10))
	w.WriteHeader(http.StatusOK)
	_, err := io.CopyN(w, file, about.Bytes)
	return err
}
