// Package processapi serves POST /v1/process, the endpoint that the service's
// former clients know: one answer for a provider and a model name of any vendor,
// in flat JSON.
package processapi

import (
	"log/slog"
	"net/http"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol"
)

// pathProcess is the route, as metrics and ledger name it.
const pathProcess = "/v1/process"

// Options are what a Handler needs.
type Options struct {
	Gateway *gateway.Gateway
	// Models say which model stands in for another vendor's; the first rule that
	// fits wins. nil means DefaultModels.
	Models []ModelRule
	// Sampled says whether a model takes a temperature; one that doesn't is sent
	// none unless the caller names one. nil: all do.
	Sampled func(model string) bool
	// MaxBody is the largest request body in bytes; 0 means
	// protocol.DefaultBodyLimit.
	MaxBody int64
	Log     *slog.Logger // nil: silent
}

// Handler serves the endpoint. It is safe for concurrent use.
type Handler struct {
	gateway  *gateway.Gateway
	models   []ModelRule
	sampled  func(model string) bool
	maxBody  int64
	log      *slog.Logger
	scanners protocol.Scanners
}

// New makes a Handler.
func New(options Options) *Handler {
	h := &Handler{gateway: options.Gateway, models: options.Models, sampled: options.Sampled, maxBody: options.MaxBody, log: options.Log}
	if h.sampled == nil {
		h.sampled = func(string) bool { return true }
	}
	if h.models == nil {
		h.models = DefaultModels()
	}
	return h
}

// Register adds the route to mux.
func (h *Handler) Register(mux *http.ServeMux) {
	mux.Handle("POST "+pathProcess, protocol.Handle(h.gateway, pathProcess, h.serveProcess, h.writeError))
}

func (h *Handler) serveProcess(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	body, err := protocol.ReadBody(w, r, h.maxBody)
	if err != nil {
		return err
	}
	request, err := h.decode(body)
	if err != nil {
		return err
	}
	model, mapped := substitute(h.models, request.model)
	if call.Request, err = request.translate(model, h.sampled(model), len(body)); err != nil {
		return err
	}
	call.Warnings = request.warnings
	if request.temperature == nil {
		call.Defaults = []string{"temperature"}
	}
	if id := request.projectID; id != "" && id != defaultProject && id != call.Caller.ProjectID {
		call.Warn("project_id: the key's project is billed")
	}
	protocol.PreferBackend(call, request.useCLI)

	out := &writer{call: call, scanners: &h.scanners, w: w, provider: request.provider, model: request.model}
	if mapped {
		out.mappedTo = model
	}
	err = h.gateway.Serve(r.Context(), call, out)
	if err == nil {
		return nil
	}
	if out.sent {
		protocol.Log(r.Context(), h.log, call.RequestID, err)
		return nil // an answer of a stated length can't be taken back
	}
	return err
}

func (h *Handler) decode(body []byte) (*processRequest, error) {
	scanner := h.scanners.Get(body)
	defer h.scanners.Put(scanner)
	return decode(scanner)
}
