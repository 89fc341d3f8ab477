// Package sessionapi serves sessions over HTTP: /v1/sessions. Messages are sent to them
// by chat/completions and process, with session_id.
package sessionapi

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/session"
)

// The routes, as metrics and ledger name them.
const (
	pathSessions = "/v1/sessions"
	pathSession  = "/v1/sessions/{id}"
	pathFork     = "/v1/sessions/{id}/fork"
)

// Sessions are the conversations of all keys: a session.Sessions, whose methods say
// what they do.
type Sessions interface {
	Create(ctx context.Context, caller *gateway.Caller, w session.Wish) (session.Session, error)
	Get(ctx context.Context, keyID, id string) (session.Session, error)
	List(ctx context.Context, keyID string) ([]session.Session, error)
	Fork(ctx context.Context, caller *gateway.Caller, id string) (session.Session, error)
	Delete(ctx context.Context, keyID, id string) error
}

// Options are what a Handler needs. Gateway is required.
type Options struct {
	Gateway  *gateway.Gateway
	Sessions Sessions // nil: this service has none
	// MaxBody is the largest request body in bytes; 0 means
	// protocol.DefaultBodyLimit.
	MaxBody int64
	Log     *slog.Logger // nil: silent
}

// Handler serves the endpoints. It is safe for concurrent use.
type Handler struct {
	options  Options
	scanners protocol.Scanners
}

// New makes a Handler.
func New(options Options) *Handler { return &Handler{options: options} }

// Register adds the routes to mux.
func (h *Handler) Register(mux *http.ServeMux) {
	for _, route := range []struct {
		method, path string
		serve        protocol.HandlerFunc
	}{
		{http.MethodPost, pathSessions, h.create},
		{http.MethodGet, pathSessions, h.list},
		{http.MethodGet, pathSession, h.get},
		{http.MethodDelete, pathSession, h.delete},
		{http.MethodPost, pathFork, h.fork},
	} {
		serve := route.serve
		if h.options.Sessions == nil {
			serve = none
		}
		mux.Handle(route.method+" "+route.path, protocol.Handle(h.options.Gateway, route.path, serve, h.writeError))
	}
}

func (h *Handler) writeError(w http.ResponseWriter, r *http.Request, call *gateway.Call, err error) {
	protocol.SetHeader(w.Header(), call)
	protocol.WriteFlatError(w, r, h.options.Log, 0, err)
}

// none refuses where there are no sessions.
func none(http.ResponseWriter, *http.Request, *gateway.Call) error {
	return &apierror.Error{
		Category: apierror.BadRequest, Code: apierror.CodeNotImplemented,
		Message: "this service has no sessions: it has no CLI, or --max-tasks is 0",
	}
}

func (h *Handler) create(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	body, err := protocol.ReadBody(w, r, h.options.MaxBody)
	if err != nil {
		return err
	}
	request, err := h.decode(body)
	if err != nil {
		return err
	}
	call.Warnings = request.warnings
	if err := call.Honoured(); err != nil {
		return err
	}
	s, err := h.options.Sessions.Create(r.Context(), call.Caller, request.wish)
	if err != nil {
		return err
	}
	w.Header().Set("Location", pathSessions+"/"+s.ID)
	return write(w, call, http.StatusCreated, view(&s))
}

func (h *Handler) list(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	sessions, err := h.options.Sessions.List(r.Context(), call.Caller.KeyID)
	if err != nil {
		return err
	}
	list := listView{Sessions: make([]sessionView, len(sessions))}
	for i := range sessions {
		list.Sessions[i] = view(&sessions[i])
		list.Sessions[i].System = "" // there may be many, and they may be long
	}
	return write(w, call, http.StatusOK, list)
}

func (h *Handler) get(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	s, err := h.options.Sessions.Get(r.Context(), call.Caller.KeyID, r.PathValue("id"))
	if err != nil {
		return err
	}
	return write(w, call, http.StatusOK, view(&s))
}

func (h *Handler) delete(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	id := r.PathValue("id")
	if err := h.options.Sessions.Delete(r.Context(), call.Caller.KeyID, id); err != nil {
		return err
	}
	return write(w, call, http.StatusOK, deletedView{id, true})
}

func (h *Handler) fork(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	s, err := h.options.Sessions.Fork(r.Context(), call.Caller, r.PathValue("id"))
	if err != nil {
		return err
	}
	w.Header().Set("Location", pathSessions+"/"+s.ID)
	return write(w, call, http.StatusCreated, view(&s))
}

func write(w http.ResponseWriter, call *gateway.Call, status int, answer any) error {
	body, err := json.Marshal(answer)
	if err != nil {
		return apierror.Wrap(apierror.Internal, "the answer can't be written", err)
	}
	protocol.SetHeader(w.Header(), call)
	return protocol.WriteJSON(w, status, body)
}
