package processapi

import (
	"context"
	"net/http"
	"slices"
	"time"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol"
)

func (h *Handler) serveProcess(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	request, body, err := read(h, w, r, decode)
	if err == nil {
		err = request.work.Ask(h.gateway, call, request.timeout)
	}
	if err != nil {
		return err
	}
	asked, err := h.prepare(call, request, len(body))
	if err != nil {
		return err
	}
	if request.async {
		return h.serveAsync(w, r, call, body)
	}
	ctx, cancel := withTimeout(r.Context(), request.timeout)
	defer cancel()
	var out protocol.Encoder = &plainWriter{whole: whole{call: call, asked: asked, scanners: &h.scanners}, w: w}
	if request.stream {
		out = newStreamWriter(w, call, asked)
	}
	return protocol.Serve(ctx, h.gateway, call, out, h.log)
}

// prepare fills in a call for a request, and gives what its answer repeats.
func (h *Handler) prepare(call *gateway.Call, request *processRequest, size int) (asked, error) {
	model, mapped := substitute(h.options.Models, request.model)
	h.translateLater(call, request, model, size)
	rules := h.options.Rules(model)
	var err error
	if call.Request, err = request.translate(model, &rules, size); err != nil {
		return asked{}, err
	}
	call.Requested = request.model
	call.Warnings = slices.Clip(request.warnings)
	call.Defaults = request.defaults()
	billing(call, request.projectID)
	protocol.PreferBackend(call, request.useCLI)
	k := asked{provider: request.provider, model: request.model, json: wanted(&request.format)}
	if mapped {
		k.mappedTo = model
	}
	return k, nil
}

// translateLater has a request written anew once the service has chosen its
// model, and when another one serves it instead, because models differ in what they
// take.
func (h *Handler) translateLater(call *gateway.Call, request *processRequest, model string, size int) {
	untouched := *request
	untouched.warnings = slices.Clip(untouched.warnings)
	call.Rerouted = func() (err error) {
		again, former := untouched, len(request.warnings)
		rules := h.options.Rules(call.Model)
		if call.Request, err = again.translate(model, &rules, size); err != nil {
			return err
		}
		call.Warnings = append(slices.Clip(again.warnings), call.Warnings[former:]...)
		return nil
	}
	if model == modelAuto {
		call.Routed = call.Rerouted
	}
}

// withTimeout sets a deadline of so many seconds; nil and zero set none.
func withTimeout(ctx context.Context, seconds *float64) (context.Context, context.CancelFunc) {
	if seconds == nil || *seconds == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, time.Duration(*seconds*float64(time.Second)))
}
