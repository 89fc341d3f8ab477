package anthropicapi

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol"
)

// maxModels is the largest page that the Anthropic API gives.
const maxModels = 1_000

// Model is one entry of the list.
type Model struct {
	ID          string    // a full id, or an alias
	DisplayName string    // for people; the ID when it is ""
	Created     time.Time // when the model came out
	OwnedBy     string    // "anthropic" when it is ""
}

// modelList is the list with its entries already encoded.
type modelList struct {
	ids    []string
	bodies [][]byte
	byID   map[string]int
}

func newModelList(models []Model) modelList {
	list := modelList{byID: make(map[string]int, len(models))}
	for _, m := range models {
		if m.DisplayName == "" {
			m.DisplayName = m.ID
		}
		if m.OwnedBy == "" {
			m.OwnedBy = "anthropic"
		}
		list.byID[m.ID] = len(list.ids)
		list.ids = append(list.ids, m.ID)
		list.bodies = append(list.bodies, m.encode())
	}
	return list
}

// encode writes what both families read of a model: object, created and
// owned_by are OpenAI's, type, display_name and created_at Anthropic's.
func (m Model) encode() []byte {
	dst := appendText([]byte(`{"id":`), m.ID)
	dst = append(dst, `,"object":"model","created":`...)
	dst = strconv.AppendInt(dst, m.Created.Unix(), 10)
	dst = appendText(append(dst, `,"owned_by":`...), m.OwnedBy)
	dst = appendText(append(dst, `,"type":"model","display_name":`...), m.DisplayName)
	dst = append(dst, `,"created_at":"`...)
	dst = m.Created.UTC().AppendFormat(dst, time.RFC3339)
	return append(dst, `"}`...)
}

// serveModels lists the models. Without limit it gives all of them, because
// OpenAI's clients know no pages.
func (h *Handler) serveModels(w http.ResponseWriter, r *http.Request, _ *gateway.Call) error {
	page, err := h.models.page(r.URL.Query())
	if err != nil {
		return err
	}
	w.Header()["Request-Id"] = w.Header()[protocol.HeaderRequestID]
	return protocol.WriteJSON(w, http.StatusOK, h.models.encode(page))
}

func (h *Handler) serveModel(w http.ResponseWriter, r *http.Request, _ *gateway.Call) error {
	i, ok := h.models.byID[r.PathValue("id")]
	if !ok {
		return &apierror.Error{
			Category: apierror.BadRequest, Code: apierror.CodeModelNotFound, Param: "model",
			Message: fmt.Sprintf("model: %s doesn't exist", r.PathValue("id")),
		}
	}
	w.Header()["Request-Id"] = w.Header()[protocol.HeaderRequestID]
	return protocol.WriteJSON(w, http.StatusOK, h.models.bodies[i])
}

// page is a part of the list: half-open bounds, and whether there is more in
// the direction that was asked for.
type page struct {
	from, to int
	more     bool
}

// page finds the part of the list that a query asks for. As in the Anthropic
// API, before_id gives the page that ends in front of it.
func (l modelList) page(query url.Values) (page, error) {
	limit := len(l.ids)
	if text := query.Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxModels {
			return page{}, apierror.Invalid("limit", "limit: must be a whole number from 1 to %d", maxModels)
		}
	}
	after, before := query.Get("after_id"), query.Get("before_id")
	switch {
	case after != "" && before != "":
		return page{}, apierror.Invalid("before_id", "before_id: can't be used together with after_id")
	case before != "":
		to, ok := l.byID[before]
		if !ok {
			return page{}, apierror.Invalid("before_id", "before_id: no such model")
		}
		from := max(0, to-limit)
		return page{from, to, from > 0}, nil
	}
	from := 0
	if after != "" {
		i, ok := l.byID[after]
		if !ok {
			return page{}, apierror.Invalid("after_id", "after_id: no such model")
		}
		from = i + 1
	}
	to := min(from+limit, len(l.ids))
	return page{from, to, to < len(l.ids)}, nil
}

func (l modelList) encode(p page) []byte {
	dst := []byte(`{"object":"list","data":[`)
	for i, body := range l.bodies[p.from:p.to] {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, body...)
	}
	dst = append(dst, `],"has_more":`...)
	dst = strconv.AppendBool(dst, p.more)
	for _, end := range []struct {
		name string
		at   int
	}{{"first_id", p.from}, {"last_id", p.to - 1}} {
		dst = append(append(append(dst, `,"`...), end.name...), `":`...)
		if p.from == p.to {
			dst = append(dst, "null"...)
		} else {
			dst = appendText(dst, l.ids[end.at])
		}
	}
	return append(dst, '}')
}
