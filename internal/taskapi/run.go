package taskapi

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/task"
)

func (h *Handler) serveTask(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	t, err := h.readTask(w, r)
	if err != nil {
		return err
	}
	for _, text := range t.unknown {
		call.Warn(text)
	}
	switch {
	case t.async:
		return h.submit(w, r, call, t)
	case t.stream:
		return h.stream(w, r, call, t)
	}
	return h.run(w, r, call, t)
}

// submit queues a task and answers 202.
func (h *Handler) submit(w http.ResponseWriter, r *http.Request, call *gateway.Call, t *taskRequest) error {
	v, err := h.tasks.Submit(r.Context(), h.gateway, call, &t.Request)
	if err != nil {
		return err
	}
	url := pathTasks + "/" + v.ID
	w.Header().Set("Location", url)
	protocol.SetHeader(w.Header(), call)
	return write(w, http.StatusAccepted, &struct {
		*task.View
		StatusURL string `json:"status_url"`
		EventsURL string `json:"events_url"`
	}{v, url, url + "/events"})
}

func write(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return err
	}
	return protocol.WriteJSON(w, status, body)
}

// run does a task and answers with all of it.
func (h *Handler) run(w http.ResponseWriter, r *http.Request, call *gateway.Call, t *taskRequest) error {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	p := &patience{w: w, gone: cancel}
	defer p.end()
	v, _, err := h.tasks.Run(ctx, h.gateway, call, &t.Request, func(job.Event) error {
		p.begin(call)
		return nil
	})
	if err != nil {
		return err
	}
	if v.Status == job.Cancelled && ctx.Err() != nil {
		return apierror.Wrap(apierror.ClientClosed, "the caller left", context.Cause(ctx))
	}
	if p.end() {
		return h.finish(w, v)
	}
	protocol.SetHeader(w.Header(), call)
	if v.Error != nil {
		w.Header().Set(protocol.HeaderErrorCategory, v.Error.Type)
	}
	return write(w, http.StatusOK, v)
}

// finish writes the answer behind what has kept the connection alive.
func (h *Handler) finish(w http.ResponseWriter, v *task.View) error {
	body, err := json.Marshal(v, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return err
	}
	if _, err := w.Write(body); err != nil {
		return nil //nolint:nilerr // the caller has left, and isn't told
	}
	return nil
}

// pause is how long a caller hears nothing: common proxies cut connections on which
// nothing has come for 30 to 60 seconds.
const pause = 15 * time.Second

// patience keeps the connection of a caller alive who waits for a whole answer: JSON
// may begin with white space.
type patience struct {
	w    http.ResponseWriter
	gone context.CancelCauseFunc

	mu      sync.Mutex
	timer   *time.Timer
	started bool // the header has left
	ended   bool
}

// begin starts it, once the task has begun: its answer is 200 then, whatever becomes of
// it. The call isn't looked at later.
func (p *patience) begin(call *gateway.Call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil || p.ended {
		return
	}
	protocol.SetHeader(p.w.Header(), call)
	p.w.Header().Set("Content-Type", "application/json")
	p.timer = time.AfterFunc(pause, p.beat)
}

func (p *patience) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.started = true
	_, err := p.w.Write([]byte("\n"))
	if err == nil {
		err = http.NewResponseController(p.w).Flush()
	}
	if err != nil {
		p.gone(apierror.Wrap(apierror.ClientClosed, "the caller left", err))
		return
	}
	p.timer.Reset(pause)
}

// end ends it and says whether the header has left.
func (p *patience) end() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.timer != nil {
		p.timer.Stop()
	}
	return p.started
}

// stream does a task and answers with its events.
func (h *Handler) stream(w http.ResponseWriter, r *http.Request, call *gateway.Call, t *taskRequest) error {
	s := protocol.NewStream(w, protocol.SetHeader)
	return h.tasks.Stream(r.Context(), s, h.gateway, call, &t.Request, h.log)
}
