package adminapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/openapi"
)

const pathAudit = "/admin/v1/audit"

// How many events or tasks a page has at the most, and where nobody says.
const (
	maxPage     = 1_000
	defaultPage = 100
)

// eventView is an event of the audit log.
type eventView struct {
	ID        int64     `json:"id"`
	Time      time.Time `json:"time"`
	Actor     string    `json:"actor"`
	Address   string    `json:"address"`
	Action    string    `json:"action"`
	Target    string    `json:"target"`
	ProjectID string    `json:"project_id"`
	Detail    string    `json:"detail"`
	RequestID string    `json:"request_id"`
}

func limitParameter() openapi.Parameter {
	return openapi.Parameter{Name: "limit", In: "query", Schema: &openapi.Schema{Type: openapi.Integer, Minimum: 1, Maximum: maxPage, Default: defaultPage}}
}

func (h *Handler) auditEndpoints() []endpoint {
	view := openapi.Members("AdminAuditEvent", "What isn't known is empty.",
		openapi.Always("id", openapi.Int("Rising.")), openapi.Always("time", instant("")),
		openapi.Always("actor", openapi.Text("A key's id, `cli` for the commands, `program` for one that has the service in it.")),
		openapi.Always("address", openapi.Text("The network address that the actor spoke from.")), openapi.Always("action", openapi.Text("What was done.")),
		openapi.Always("target", openapi.Text("What it was done to.")), openapi.Always("project_id", openapi.Text("Whose that is.")),
		openapi.Always("detail", openapi.Text("")), openapi.Always("request_id", openapi.Text("As in the log.")))
	return []endpoint{{
		Operation: openapi.Operation{
			Method: http.MethodGet, Path: pathAudit, ID: "adminAudit", Summary: "The audit log, the newest first.",
			Parameters: []openapi.Parameter{
				limitParameter(),
				{Name: "before", In: "query", Description: "The id of an event: only those before it. `next` is the way to the next page.", Schema: openapi.Int("")},
				{Name: "action", In: "query", Schema: openapi.Words(h.options.Actions...)},
				{Name: "actor", In: "query", Schema: openapi.Text("")},
				{Name: "project_id", In: "query", Schema: openapi.Text("")},
				{Name: "key_id", In: "query", Description: "A key: what was done by it or to it.", Schema: openapi.Text("")},
			},
			Responses: answers(http.StatusOK, "A page.", openapi.Members("AdminAuditPage", "",
				openapi.Always("events", openapi.List(view)), openapi.Always("next", openapi.Nullable(openapi.Int("Is `before` of the next page. null: there is none."))))),
		},
		serve: h.listAudit,
	}}
}

// pageOf reads how many there are to be on a page.
func pageOf(r *http.Request) (int, error) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPage {
		return 0, apierror.Invalid("limit", "limit: must be a number from 1 to %d", maxPage)
	}
	return n, nil
}

func (h *Handler) listAudit(w http.ResponseWriter, r *http.Request, _ *administrator) error {
	limit, err := pageOf(r)
	if err != nil {
		return err
	}
	query := r.URL.Query()
	before := int64(0)
	if text := query.Get("before"); text != "" {
		if before, err = strconv.ParseInt(text, 10, 64); err != nil || before < 1 {
			return apierror.Invalid("before", "before: must be the id of an event")
		}
	}
	filter := audit.Filter{Action: query.Get("action"), Actor: query.Get("actor"), Project: query.Get("project_id"), Key: query.Get("key_id")}
	if filter.Action != "" && !slices.Contains(h.options.Actions, filter.Action) {
		return apierror.Invalid("action", "action: must be one of %s", strings.Join(h.options.Actions, ", "))
	}
	events, err := h.options.Audit.NewestAudit(r.Context(), before, limit+1, filter)
	if err != nil {
		return err
	}
	var next *int64
	if len(events) > limit {
		events = events[:limit]
		next = &events[limit-1].ID
	}
	views := make([]eventView, len(events))
	for i, e := range events {
		views[i] = eventView{e.ID, e.Time, e.Actor, e.Address, e.Action, e.Target, e.Project, e.Detail, e.RequestID}
	}
	return write(w, http.StatusOK, struct {
		Events []eventView `json:"events"`
		Next   *int64      `json:"next"`
	}{views, next})
}
