package adminapi

import (
	"context"
	"log/slog"
	"net/http"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/openapi"
)

// Options are what a Handler needs. Authenticator, Keys and Audit are required, and so
// is Archive where Sessions is set.
type Options struct {
	// Authenticator knows admin keys, and slows those down who try keys.
	Authenticator *apikey.Authenticator
	// Keys are looked at: whose key a session is.
	Keys *apikey.Keys
	// Audit is where sign-ins are written and all that is changed, before whoever did it
	// hears that it is done.
	Audit audit.Store
	// Observer hears of requests that were refused for their key; nil: nobody does.
	Observer gateway.Observer
	// Sessions says that an admin key may open a session, which a cookie stands for; the
	// dashboard needs it.
	Sessions bool
	// Archive keeps the sessions.
	Archive *archive.Archive
	Log     *slog.Logger // nil: silent
}

// Handler serves the endpoints. It is safe for concurrent use.
type Handler struct {
	options Options
	log     *slog.Logger
	streams *streams
	// crossOrigin knows requests that another site's page has sent.
	crossOrigin *http.CrossOriginProtection
}

// streams are those who follow what happens, of all Handlers; see With.
type streams struct {
	life context.Context
	end  context.CancelFunc
}

// New makes a Handler.
func New(options Options) *Handler {
	h := &Handler{options: options, log: options.Log, streams: &streams{}, crossOrigin: http.NewCrossOriginProtection()}
	h.streams.life, h.streams.end = context.WithCancel(context.Background())
	return h
}

// With makes a Handler with other options: the Stop of either stops both.
func (h *Handler) With(options Options) *Handler {
	other := New(options)
	other.streams = h.streams
	return other
}

// Stop ends the streams: whoever reads one comes again after the next start.
func (h *Handler) Stop(context.Context) error {
	h.streams.end()
	return nil
}

// endpoint is one route of a group, and what is said of it.
type endpoint struct {
	openapi.Operation
	serve handlerFunc
	// open says that whoever asks needs neither a key nor a session yet.
	open bool
}

// groups gives all endpoints. A file of a group has a method that lists its own.
func (h *Handler) groups() [][]endpoint {
	return [][]endpoint{h.sessionEndpoints()}
}

// Register adds the routes to mux.
func (h *Handler) Register(mux *http.ServeMux) {
	for _, group := range h.groups() {
		for _, e := range group {
			if e.open {
				mux.Handle(e.Method+" "+e.Path, h.anyone(e.Path, e.serve))
			} else {
				mux.Handle(e.Method+" "+e.Path, h.admin(e.Path, e.serve))
			}
		}
	}
}

// Tag is the family in the OpenAPI document.
const Tag = "admin"

// Operations documents the endpoints.
func (h *Handler) Operations() []openapi.Operation {
	var operations []openapi.Operation
	for _, group := range h.groups() {
		for _, e := range group {
			e.Tag, e.Public = Tag, e.open
			operations = append(operations, e.Operation)
		}
	}
	return operations
}
