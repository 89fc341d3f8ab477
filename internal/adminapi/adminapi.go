package adminapi

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/monitor"
	"claude-code-api-service/internal/openapi"
)

// Options are what a Handler needs. Authenticator, Keys, Audit, Monitor and State
// are required, and so is Archive where Sessions is set.
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
	// Off says that sessions count no more: streams that were opened before hear of it so.
	// nil: they always do.
	Off func() bool
	// Archive keeps the sessions.
	Archive *archive.Archive
	Log     *slog.Logger // nil: silent

	// Monitor knows what runs and ran.
	Monitor *monitor.Monitor
	// State gives the rest of what there is to see, from memory.
	State func() State
	// ResidentBytes gives the memory of the service's process; nil: it isn't told.
	ResidentBytes func() int64
	// Workers gives the CLI's workers, and Kill ends one, or gives ErrNoWorker or ErrStarting.
	// Both are nil without a CLI.
	Workers func() Workers
	Kill    func(id string) error
	// Reload reads the configuration again. Its error is why it can't be used: nothing has
	// changed then; or ErrNothingToRead.
	Reload func(ctx context.Context) (Reload, error)

	Rooms
}

// Handler serves the endpoints. It is safe for concurrent use.
type Handler struct {
	options Options
	log     *slog.Logger
	shared  *shared
	// crossOrigin knows requests that another site's page has sent.
	crossOrigin *http.CrossOriginProtection
}

// shared is what all Handlers have in common; see With.
type shared struct {
	life context.Context // of the streams
	end  context.CancelFunc

	counts counts

	mu      sync.Mutex // guards what follows
	streams int        // that are being read
	names   map[string]string
	namesAt time.Time // when they were read
}

// New makes a Handler.
func New(options Options) *Handler {
	h := &Handler{options: options, log: options.Log, shared: &shared{}, crossOrigin: http.NewCrossOriginProtection()}
	h.shared.life, h.shared.end = context.WithCancel(context.Background())
	return h
}

// With makes a Handler with other options: the Stop of either stops both.
func (h *Handler) With(options Options) *Handler {
	other := New(options)
	other.shared = h.shared
	return other
}

// Stop ends the streams: whoever reads one comes again after the next start.
func (h *Handler) Stop(context.Context) error {
	h.shared.end()
	return nil
}

// endpoint is one route of a group, and what is said of it.
type endpoint struct {
	openapi.Operation
	serve handlerFunc
	// open says that whoever asks needs neither a key nor a session yet.
	open bool
	// route is Path as the mux writes it, where that differs.
	route string
}

// groups gives all endpoints. A file of a group has a method that lists its own.
func (h *Handler) groups() [][]endpoint {
	return append([][]endpoint{h.sessionEndpoints(), h.stateEndpoints()}, h.roomEndpoints()...)
}

// Register adds the routes to mux.
func (h *Handler) Register(mux *http.ServeMux) {
	for _, group := range h.groups() {
		for _, e := range group {
			pattern := e.Method + " " + cmp.Or(e.route, e.Path)
			if e.open {
				mux.Handle(pattern, h.anyone(e.Path, e.serve))
			} else {
				mux.Handle(pattern, h.admin(e.Path, e.serve))
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
