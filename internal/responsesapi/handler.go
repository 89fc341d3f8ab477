// Package responsesapi serves the OpenAI Responses API
// (platform.openai.com/docs/api-reference/responses): it translates a request
// into a Messages request, the answer and its events back, and keeps responses
// for those who go on from them.
package responsesapi

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// The routes, as metrics and ledger name them.
const (
	pathResponses   = "/v1/responses"
	pathResponse    = "/v1/responses/{id}"
	pathInputItems  = "/v1/responses/{id}/input_items"
	pathCancel      = "/v1/responses/{id}/cancel"
	pathInputTokens = "/v1/responses/input_tokens"
)

// DefaultTTL is how long responses are kept: OpenAI's 30 days.
const DefaultTTL = 30 * 24 * time.Hour

// Archive keeps responses. It is what of archive.Archive is needed here.
type Archive interface {
	Put(ctx context.Context, kind, keyID, id string, ttl time.Duration, body []byte) error
	Get(ctx context.Context, kind, keyID, id string) (archive.Document, error)
	Delete(ctx context.Context, kind, keyID, id string) error
}

// Options are what a Handler needs.
type Options struct {
	Gateway *gateway.Gateway
	Archive Archive
	// Once serves requests that carry an Idempotency-Key; nil: nobody reads the
	// header.
	Once protocol.Once
	// TTL is how long a response is kept; 0 is DefaultTTL.
	TTL time.Duration
	// Rules gives what a model takes of a request, by the name that it is asked for
	// under ("" where none is) or its id. nil: any model takes everything.
	Rules func(model string) message.Rules
	// MaxBody is the largest request body in bytes; 0 means
	// protocol.DefaultBodyLimit.
	MaxBody int64
	Log     *slog.Logger     // nil: silent
	Now     func() time.Time // nil: time.Now
}

// Handler serves the Responses API. It is safe for concurrent use.
type Handler struct {
	gateway  *gateway.Gateway
	once     protocol.Once
	archive  Archive
	ttl      time.Duration
	rules    func(model string) message.Rules
	maxBody  int64
	log      *slog.Logger
	now      func() time.Time
	scanners protocol.Scanners
}

// New makes a Handler.
func New(options Options) *Handler {
	h := &Handler{
		gateway: options.Gateway, once: options.Once, archive: options.Archive, ttl: options.TTL, rules: options.Rules,
		maxBody: options.MaxBody, log: options.Log, now: options.Now,
	}
	if h.ttl <= 0 {
		h.ttl = DefaultTTL
	}
	if h.rules == nil {
		h.rules = func(string) message.Rules { return message.Rules{} }
	}
	if h.now == nil {
		h.now = time.Now
	}
	return h
}

// Register adds the routes to mux.
func (h *Handler) Register(mux *http.ServeMux) {
	writeError := protocol.OpenAIErrorWriter(h.log)
	mux.Handle("POST "+pathResponses, protocol.HandleOnce(h.gateway, h.once, pathResponses, h.serveCreate, writeError))
	for _, route := range []struct {
		method, path string
		serve        protocol.HandlerFunc
	}{
		{"POST", pathInputTokens, h.serveInputTokens},
		{"GET", pathResponse, h.serveGet},
		{"DELETE", pathResponse, h.serveDelete},
		{"GET", pathInputItems, h.serveInputItems},
		{"POST", pathCancel, h.serveCancel},
	} {
		mux.Handle(route.method+" "+route.path, protocol.Handle(h.gateway, route.path, route.serve, writeError))
	}
}

func (h *Handler) serveCreate(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	p, err := h.prepare(w, r, call)
	if err != nil {
		return err
	}
	answer := &p.answer
	*answer = response{
		request: &p.request, id: newID(), created: h.now().Unix(), inputs: len(p.own), unfence: p.unfence,
	}
	keeper := keeper{h, r.Context(), call, p.former, p.own}
	var out protocol.Encoder = &wholeWriter{call: call, w: w, scanners: &h.scanners, response: answer, keeper: keeper, now: h.now}
	if call.Request.Stream {
		out = newStreamWriter(w, call, answer, keeper, h.now)
	}
	return protocol.Serve(r.Context(), h.gateway, call, out, h.log)
}

// prepared is a request with the items of its conversation.
type prepared struct {
	request     request
	former, own []item
	// unfence says that a code fence around the answer's text is to be taken off.
	unfence bool
	answer  response
}

// prepare reads a request and fills the call with what it asks.
func (h *Handler) prepare(w http.ResponseWriter, r *http.Request, call *gateway.Call) (*prepared, error) {
	body, err := protocol.ReadBody(w, r, h.maxBody)
	if err != nil {
		return nil, err
	}
	p := &prepared{}
	if err = h.decode(body, &p.request); err != nil {
		return nil, err
	}
	p.request.counting = call.CountOnly
	if p.former, err = h.former(r.Context(), call, &p.request); err != nil {
		return nil, err
	}
	if p.own, err = h.resolve(r.Context(), call, p.former, p.request.input.items); err != nil {
		return nil, err
	}
	if err := h.translate(p, call); err != nil {
		return nil, err
	}
	protocol.PreferBackend(call, p.request.useCLI)
	return p, nil
}

// modelAuto leaves the choice of the model to the service.
const modelAuto = "auto"

// translate writes the call's Messages request. Where the service chooses the
// model, it is written anew for the one that was chosen.
func (h *Handler) translate(p *prepared, call *gateway.Call) error {
	model := protocol.Unquote(p.request.model)
	warnings, err := p.translate(h.rules(model), call)
	if err != nil {
		return err
	}
	call.Warnings = warnings
	former := len(warnings)
	call.Rerouted = func() error {
		warnings, err := p.translate(h.rules(call.Model), call)
		if err != nil {
			return err
		}
		call.Warnings = append(warnings, call.Warnings[former:]...)
		return nil
	}
	if model == "" || model == modelAuto {
		call.Routed = call.Rerouted
	}
	return nil
}

// translate writes the Messages request for a model with these rules and gives
// what couldn't be honoured. It may be called again.
func (p *prepared) translate(rules message.Rules, call *gateway.Call) (warnings []string, err error) {
	c := p.request
	c.warnings, c.tools = slices.Clone(c.warnings), slices.Clone(c.tools)
	talk, err := c.join(p.former, p.own)
	if err != nil {
		return nil, err
	}
	if call.Request, call.Defaults, err = c.translate(&talk, &rules); err != nil {
		return nil, err
	}
	p.unfence = c.format.Unfence(&rules)
	return slices.Clip(c.warnings), nil
}

func (h *Handler) decode(body []byte, into *request) error {
	scanner := h.scanners.Get(body)
	defer h.scanners.Put(scanner)
	return into.decode(scanner)
}
