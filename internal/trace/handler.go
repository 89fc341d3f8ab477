package trace

import (
	"context"
	"log/slog"
)

// Handler gives a handler of log lines that adds to those whose context has a span its
// trace_id and span_id, as OpenTelemetry names them in logs.
func Handler(next slog.Handler) slog.Handler { return handler{next} }

type handler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h handler) Handle(ctx context.Context, r slog.Record) error {
	if s := From(ctx); s != nil {
		r.AddAttrs(slog.String("trace_id", s.Trace.String()), slog.String("span_id", s.ID.String()))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h handler) WithGroup(name string) slog.Handler { return handler{h.Handler.WithGroup(name)} }
