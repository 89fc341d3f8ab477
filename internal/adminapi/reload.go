package adminapi

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/openapi"
)

const pathReload = "/admin/v1/reload"

// Reloaded is an action of the audit log.
const Reloaded = "service.reloaded"

// Reload is what reading the configuration again has come to, as names of settings.
type Reload struct {
	Changed   []string `json:"changed"`
	NeedStart []string `json:"need_start"` // what differs and only a start can change
}

// ErrNothingToRead is Options.Reload's where the service is part of a program that gives
// it its configuration.
var ErrNothingToRead = errors.New("there is no configuration to read")

func (h *Handler) serveReload(w http.ResponseWriter, r *http.Request, who *administrator) error {
	// It is done whole, whether whoever asked waits for it or not.
	ctx := context.WithoutCancel(r.Context())
	done, err := h.options.Reload(ctx)
	if errors.Is(err, ErrNothingToRead) {
		return &apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeNotImplemented, Message: "this program gives the service its configuration: it can't be read again"}
	}
	if err != nil {
		return apierror.Wrap(apierror.BadRequest, "the configuration can't be used, and the former one stays: "+err.Error(), err)
	}
	if done.Changed == nil {
		done.Changed = []string{}
	}
	if done.NeedStart == nil {
		done.NeedStart = []string{}
	}
	if err := h.note(ctx, who, audit.Event{Action: Reloaded, Detail: strings.Join(done.Changed, " ")}); err != nil {
		return err
	}
	return write(w, http.StatusOK, done)
}

func reloadSchema() *openapi.Schema {
	names := openapi.List(openapi.Text(""))
	return openapi.Members("AdminReload", "Names of settings.", openapi.Always("changed", names), openapi.Always("need_start", names))
}
