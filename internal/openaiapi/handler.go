// Package openaiapi serves the OpenAI Chat Completions API
// (platform.openai.com/docs/api-reference/chat): it translates a request into a
// Messages request, and the answer and its events back.
package openaiapi

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// pathChat is the route, as metrics and ledger name it.
const pathChat = "/v1/chat/completions"

// modelAuto leaves the choice of the model to the service.
const modelAuto = "auto"

// maxTokensIsOurs is what is written where the caller names no limit. It is never
// changed.
var maxTokensIsOurs = []string{"max_tokens"}

// Options are what a Handler needs.
type Options struct {
	Gateway *gateway.Gateway
	// Once serves requests that carry an Idempotency-Key; nil: nobody reads the
	// header.
	Once protocol.Once
	// Rules give what a model takes of a request, by the name that it is asked for
	// under ("" where none is) or its id. Nil: nothing is known of any model.
	Rules func(model string) message.Rules
	// MaxBody is the largest request body in bytes; 0 means
	// protocol.DefaultBodyLimit.
	MaxBody int64
	Log     *slog.Logger     // nil: silent
	Now     func() time.Time // nil: time.Now
}

// Handler serves the Chat Completions API. It is safe for concurrent use.
type Handler struct {
	gateway  *gateway.Gateway
	once     protocol.Once
	rules    func(model string) message.Rules
	maxBody  int64
	log      *slog.Logger
	scanners protocol.Scanners
	now      func() time.Time
}

// New makes a Handler.
func New(options Options) *Handler {
	h := &Handler{gateway: options.Gateway, once: options.Once, rules: options.Rules, maxBody: options.MaxBody, log: options.Log, now: options.Now}
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
	mux.Handle("POST "+pathChat, protocol.HandleOnce(h.gateway, h.once, pathChat, h.serveChat, protocol.OpenAIErrorWriter(h.log)))
}

func (h *Handler) serveChat(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	body, err := protocol.ReadBody(w, r, h.maxBody)
	if err != nil {
		return err
	}
	chat, err := h.decode(body)
	if err == nil {
		err = chat.work.Ask(h.gateway, call, chat.timeout)
	}
	if err != nil {
		return err
	}
	if err = h.translate(chat, call, len(body)); err != nil {
		return err
	}
	if chat.maxTokens == 0 && chat.maxCompletion == 0 {
		call.Defaults = []string{"max_tokens"}
	}
	if chat.projectID != "" && chat.projectID != call.Caller.ProjectID {
		call.Warn("project_id: the key's project is billed")
	}
	protocol.PreferBackend(call, chat.useCLI)
	ctx := r.Context()
	if seconds := chat.timeout; seconds != nil && *seconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*seconds*float64(time.Second)))
		defer cancel()
	}
	return protocol.Serve(ctx, h.gateway, call, h.encoder(w, call, chat), h.log)
}

// translate writes the call's Messages request. Where the service chooses the
// model, and where another one serves the request instead, it is written anew for
// that.
func (h *Handler) translate(chat *chatRequest, call *gateway.Call, size int) (err error) {
	model := chat.modelName()
	untouched := *chat
	untouched.warnings = slices.Clip(untouched.warnings)
	call.Rerouted = func() (err error) {
		again, former := untouched, len(chat.warnings)
		if call.Request, err = again.translate(h.rules(call.Model), size); err != nil {
			return err
		}
		call.Warnings = append(slices.Clip(again.warnings), call.Warnings[former:]...)
		return nil
	}
	if model == "" || model == modelAuto {
		call.Routed = call.Rerouted
	}
	if call.Request, err = chat.translate(h.rules(model), size); err != nil {
		return err
	}
	call.Warnings = slices.Clip(chat.warnings)
	if chat.maxTokens == 0 && chat.maxCompletion == 0 {
		call.Defaults = maxTokensIsOurs
	}
	return nil
}

// encoder makes the writer of an answer.
func (h *Handler) encoder(w http.ResponseWriter, call *gateway.Call, chat *chatRequest) protocol.Encoder {
	unfence := chat.format.Unfence(&chat.rules)
	if !call.Request.Stream {
		return &wholeWriter{call: call, scanners: &h.scanners, w: w, created: h.now().Unix(), unfence: unfence}
	}
	s := newStreamWriter(w, call, h.now().Unix(), chat.includeUsage)
	if unfence {
		s.fence = &protocol.Fence{}
	}
	return s
}

func (h *Handler) decode(body []byte) (*chatRequest, error) {
	scanner := h.scanners.Get(body)
	defer h.scanners.Put(scanner)
	return decode(scanner)
}
