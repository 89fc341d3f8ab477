package adminapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/sse"
)

const pathStream = "/admin/v1/stream"

const (
	// lookEvery is how often a stream looks for something new, and whether whoever reads
	// it may still. Every second look brings an overview, which is the heartbeat too.
	lookEvery = 500 * time.Millisecond
	// mostShown is how many requests an event has that have ended since the last.
	mostShown = 100
	// mostStreams is how many may be read at once on this node.
	mostStreams = 50
)

// serveStream tells what happens until its reader leaves, the session ends or the service
// stops.
func (h *Handler) serveStream(w http.ResponseWriter, r *http.Request, who *administrator) error {
	if err := h.enterStream(); err != nil {
		return err
	}
	defer h.leaveStream()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(h.shared.life, cancel)()

	header := w.Header()
	header["Content-Type"] = []string{sse.ContentType}
	header["X-Accel-Buffering"] = []string{"no"}
	w.WriteHeader(http.StatusOK)
	s := &reader{w: w, control: http.NewResponseController(w)}
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for look := 0; ; look++ {
		if err := h.still(ctx, who); err != nil {
			if ctx.Err() == nil {
				s.event("end", struct {
					Reason string `json:"reason"`
				}{apierror.From(err).Message})
				_ = s.flush() // it may have left, too
			}
			return nil
		}
		if look%2 == 0 {
			s.event("overview", h.overview())
		}
		h.news(ctx, s)
		if s.flush() != nil {
			return nil // it has left
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// news writes what runs and what has ended since the last time, where there is anything.
func (h *Handler) news(ctx context.Context, s *reader) {
	changes := h.options.Monitor.Changes()
	live := h.options.Monitor.Live()
	if s.begun && changes == s.changes && len(live) == 0 {
		return // of what runs the stages change
	}
	recent := h.options.Monitor.Recent(s.seen, mostShown)
	if len(recent) > 0 {
		s.seen = recent[0].Seq
	}
	s.begun, s.changes = true, changes
	s.event("requests", h.requestsOf(ctx, live, recent))
}

// still says whether whoever opened a stream might open it now.
func (h *Handler) still(ctx context.Context, who *administrator) error {
	if who.session == nil {
		_, err := h.byKey(ctx, who)
		return err
	}
	if h.options.Off != nil && h.options.Off() {
		return ended(errors.New("the dashboard was switched off"))
	}
	_, err := h.byID(ctx, who.session.id)
	return err
}

func (h *Handler) enterStream() error {
	h.shared.mu.Lock()
	defer h.shared.mu.Unlock()
	if h.shared.streams >= mostStreams {
		return &apierror.Error{Category: apierror.RateLimited, Message: "as many streams are read as may be at once", RetryAfter: 10 * time.Second}
	}
	h.shared.streams++
	return nil
}

func (h *Handler) leaveStream() {
	h.shared.mu.Lock()
	defer h.shared.mu.Unlock()
	h.shared.streams--
}

// reader is who reads a stream, and what it has.
type reader struct {
	w       http.ResponseWriter
	control *http.ResponseController
	frame   []byte
	err     error

	begun         bool
	changes, seen uint64
}

// event writes one event, which leaves with the next flush.
func (s *reader) event(name string, value any) {
	if s.err != nil {
		return
	}
	data, err := json.Marshal(value, json.Deterministic(true))
	if err != nil {
		s.err = err
		return
	}
	s.frame = sse.Append(s.frame[:0], name, data)
	_, s.err = s.w.Write(s.frame)
}

func (s *reader) flush() error {
	if s.err == nil {
		s.err = s.control.Flush()
	}
	return s.err
}
