package simulator

import (
	"net/http"
	"strconv"
)

type model struct{ id, name, created string }

// models lists what the simulator has, newest first as the API does.
func models() []model {
	return []model{
		{"claude-opus-5-5", "Claude Opus 5.5", "2026-06-01T00:00:00Z"},
		{"claude-sonnet-5-5", "Claude Sonnet 5.5", "2026-05-01T00:00:00Z"},
		{"claude-haiku-5-5", "Claude Haiku 5.5", "2026-04-01T00:00:00Z"},
		{"claude-opus-4-5-20251101", "Claude Opus 4.5", "2025-11-24T00:00:00Z"},
		{"claude-haiku-4-5-20251001", "Claude Haiku 4.5", "2025-10-15T00:00:00Z"},
		{"claude-sonnet-4-5-20250929", "Claude Sonnet 4.5", "2025-09-29T00:00:00Z"},
	}
}

func appendModel(dst []byte, m model) []byte {
	dst = append(dst, `{"type":"model","id":"`+m.id...)
	dst = append(dst, `","display_name":"`+m.name...)
	return append(dst, `","created_at":"`+m.created+`"}`...)
}

func (x *exchange) oneModel(id string) *fault {
	for _, m := range models() {
		if m.id == id {
			x.send(appendModel(x.out, m))
			return nil
		}
	}
	return newFault(http.StatusNotFound, "model: %s", id)
}

// The limits of a page, as the API has them.
const (
	defaultPage = 20
	largestPage = 1000
)

// listModels answers one page: limit, and either after_id or before_id.
func (x *exchange) listModels() *fault {
	query := x.r.URL.Query()
	limit := defaultPage
	if given := query.Get("limit"); given != "" {
		n, err := strconv.Atoi(given)
		if err != nil || n < 1 || n > largestPage {
			return invalid("limit: Input should be a valid integer from 1 to %d", largestPage)
		}
		limit = n
	}
	all := models()
	from, to := 0, len(all)
	for i, m := range all {
		switch m.id {
		case query.Get("after_id"):
			from = i + 1
		case query.Get("before_id"):
			to = i
		}
	}
	page, more := all[min(from, to):to], false
	if len(page) > limit {
		more = true
		if query.Get("before_id") != "" {
			page = page[len(page)-limit:] // those next to the id
		} else {
			page = page[:limit]
		}
	}
	b := append(x.out, `{"data":[`...)
	for i, m := range page {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendModel(b, m)
	}
	b = append(b, `],"has_more":`...)
	b = strconv.AppendBool(b, more)
	first, last := "null", "null"
	if len(page) > 0 {
		first, last = `"`+page[0].id+`"`, `"`+page[len(page)-1].id+`"`
	}
	b = append(b, `,"first_id":`+first+`,"last_id":`+last+`}`...)
	x.send(b)
	return nil
}
