// Package openaiapi serves the OpenAI Chat Completions API
// (platform.openai.com/docs/api-reference/chat): it translates a request into a
// Messages request, and the answer and its events back.
package openaiapi

import (
	"log/slog"
	"net/http"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol"
)

// pathChat is the route, as metrics and ledger name it.
const pathChat = "/v1/chat/completions"

// Options are what a Handler needs.
type Options struct {
	Gateway *gateway.Gateway
	// MaxBody is the largest request body in bytes; 0 means
	// protocol.DefaultBodyLimit.
	MaxBody int64
	Log     *slog.Logger     // nil: silent
	Now     func() time.Time // nil: time.Now
}

// Handler serves the Chat Completions API. It is safe for concurrent use.
type Handler struct {
	gateway  *gateway.Gateway
	maxBody  int64
	log      *slog.Logger
	scanners protocol.Scanners
	now      func() time.Time
}

// New makes a Handler.
func New(options Options) *Handler {
	h := &Handler{gateway: options.Gateway, maxBody: options.MaxBody, log: options.Log, now: options.Now}
	if h.now == nil {
		h.now = time.Now
	}
	return h
}

// Register adds the routes to mux.
func (h *Handler) Register(mux *http.ServeMux) {
	mux.Handle("POST "+pathChat, protocol.Handle(h.gateway, pathChat, h.serveChat, protocol.OpenAIErrorWriter(h.log)))
}

func (h *Handler) serveChat(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	body, err := protocol.ReadBody(w, r, h.maxBody)
	if err != nil {
		return err
	}
	chat, err := h.decode(body)
	if err != nil {
		return err
	}
	if call.Request, err = chat.translate(len(body)); err != nil {
		return err
	}
	call.Warnings = chat.warnings
	if chat.projectID != "" && chat.projectID != call.Caller.ProjectID {
		call.Warn("project_id: the key's project is billed")
	}
	protocol.PreferBackend(call, chat.useCLI)

	var out encoder = &wholeWriter{call: call, scanners: &h.scanners, w: w, created: h.now().Unix()}
	if call.Request.Stream {
		out = newStreamWriter(w, call, h.now().Unix(), chat.includeUsage)
	}
	if err = h.gateway.Serve(r.Context(), call, out); err == nil {
		return nil
	}
	if out.started() {
		protocol.Log(r.Context(), h.log, call.RequestID, err)
		out.fail(apierror.From(err))
		return nil
	}
	return err
}

// encoder is an EventWriter that knows what has left already.
type encoder interface {
	gateway.EventWriter
	// started says that the header has left.
	started() bool
	// fail tells the caller of an error inside a started answer.
	fail(e *apierror.Error)
}

func (h *Handler) decode(body []byte) (*chatRequest, error) {
	scanner := h.scanners.Get(body)
	defer h.scanners.Put(scanner)
	return decode(scanner)
}
