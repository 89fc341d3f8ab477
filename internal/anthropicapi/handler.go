// Package anthropicapi serves the Anthropic Messages API
// (platform.claude.com/docs): POST /v1/messages and its count_tokens, and the
// list of models that both families of clients read. What goes through unchanged isn't decoded.
package anthropicapi

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// The routes, as metrics and ledger name them.
const (
	pathMessages = "/v1/messages"
	pathCount    = "/v1/messages/count_tokens"
	pathModels   = "/v1/models"
	pathModel    = "/v1/models/{id}"
)

// Options are what a Handler needs.
type Options struct {
	Gateway *gateway.Gateway
	Models  []Model // what GET /v1/models lists, in this order
	// Once serves requests that carry an Idempotency-Key; nil: nobody reads the
	// header.
	Once protocol.Once
	// MaxBody is the largest request body in bytes; 0 means
	// protocol.DefaultBodyLimit.
	MaxBody int64
	Log     *slog.Logger     // nil: silent
	Now     func() time.Time // nil: time.Now
}

// Handler serves the Messages API. It is safe for concurrent use.
type Handler struct {
	gateway *gateway.Gateway
	once    protocol.Once
	models  modelList
	maxBody int64
	log     *slog.Logger
	now     func() time.Time
}

// New makes a Handler.
func New(options Options) *Handler {
	h := &Handler{
		gateway: options.Gateway, once: options.Once, models: newModelList(options.Models),
		maxBody: options.MaxBody, log: options.Log, now: options.Now,
	}
	if h.now == nil {
		h.now = time.Now
	}
	return h
}

// Register adds the routes to mux.
func (h *Handler) Register(mux *http.ServeMux) {
	mux.Handle("POST "+pathMessages, protocol.HandleOnce(h.gateway, h.once, pathMessages, h.serveMessages, h.writeError))
	mux.Handle("POST "+pathCount, protocol.Handle(h.gateway, pathCount, h.serveCount, h.writeError))
	mux.Handle("GET "+pathModels, protocol.Handle(h.gateway, pathModels, h.serveModels, h.writeModelsError))
	mux.Handle("GET "+pathModel, protocol.Handle(h.gateway, pathModel, h.serveModel, h.writeModelsError))
}

func (h *Handler) serveMessages(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	if err := h.decode(w, r, call); err != nil {
		return err
	}
	if call.Request.MaxTokens == 0 {
		return apierror.Invalid("max_tokens", "max_tokens: field required")
	}
	if call.Request.Stream {
		out := &streamWriter{h: h, call: call, stream: protocol.NewStream(w, h.setHeader)}
		return protocol.Serve(r.Context(), h.gateway, call, out, h.log)
	}
	return protocol.Serve(r.Context(), h.gateway, call, &wholeWriter{h: h, call: call, w: w}, h.log)
}

// serveCount answers how many input tokens a request has. It takes what
// /v1/messages takes; max_tokens may be absent.
func (h *Handler) serveCount(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	if err := h.decode(w, r, call); err != nil {
		return err
	}
	call.CountOnly = true
	return protocol.Serve(r.Context(), h.gateway, call, &wholeWriter{h: h, call: call, w: w}, h.log)
}

// decode fills the call with what the caller asks.
func (h *Handler) decode(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	body, err := protocol.ReadBody(w, r, h.maxBody)
	if err != nil {
		return err
	}
	if call.Request, err = message.ParseRequest(body); err != nil {
		return err
	}
	call.Forward, call.Query = forward(r.Header), r.URL.RawQuery
	protocol.PreferBackend(call, call.Request.UseCLI)
	return nil
}

// forward picks what the direct backend sends on: whatever names the API or
// Claude Code. It is no list of names, because new ones come with new clients
// (code.claude.com/docs, llm-gateway-protocol, "Forward as open lists").
func forward(h http.Header) http.Header {
	var out http.Header
	for name, values := range h {
		if !strings.HasPrefix(name, "Anthropic-") && !strings.HasPrefix(name, "X-Claude-Code-") {
			continue
		}
		if out == nil {
			out = make(http.Header, 4)
		}
		out[name] = values
	}
	return out
}
