package adminapi

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/usage"
)

const pathSpend = "/admin/v1/spend"

// What a report may be told apart by.
const (
	byProject = "project"
	byKey     = "key"
	byModel   = "model"
	byDay     = "day"
	byBackend = "backend"
)

// mostRows is how many rows a report has before those that have used nothing are told of
// as others.
const mostRows = 500

// spendRow is what was used of what Name names.
type spendRow struct {
	Name          string `json:"name"`
	ID            string `json:"id,omitzero"`
	Requests      int64  `json:"requests"`
	Errors        int64  `json:"errors"`
	InputTokens   int64  `json:"input_tokens"`
	OutputTokens  int64  `json:"output_tokens"`
	CacheRead     int64  `json:"cache_read_input_tokens"`
	CacheCreation int64  `json:"cache_creation_input_tokens"`
	CostMicroUSD  int64  `json:"cost_micro_usd"`
	Unpriced      int64  `json:"unpriced_requests"`
	ChargedTokens int64  `json:"charged_tokens"`
	ChargedMicro  int64  `json:"charged_micro_usd"`
}

func viewTotal(name string, t *usage.Total, errors int64) spendRow {
	return spendRow{
		Name: name, Requests: t.Requests, Errors: errors, InputTokens: t.Usage.InputTokens, OutputTokens: t.Usage.OutputTokens,
		CacheRead: t.Usage.CacheReadInputTokens, CacheCreation: t.Usage.CacheCreationInputTokens, CostMicroUSD: t.CostMicroUSD,
		Unpriced: t.Unpriced, ChargedTokens: t.Charged.Tokens, ChargedMicro: t.Charged.MicroUSD,
	}
}

func spendPeriods() []string {
	return []string{string(budget.Day), string(budget.Week), string(budget.Month)}
}

func spendGroups() []string { return []string{byProject, byKey, byModel, byDay, byBackend} }

func (h *Handler) spendEndpoints() []endpoint {
	row := openapi.Members("AdminSpend", "",
		openapi.Always("name", openapi.Text("A project, a key's name, a model, a date, or a backend.")),
		openapi.Maybe("id", openapi.Text("The key's id.")),
		openapi.Always("requests", openapi.Int("Those that used something; an agentic run is one. By backend: its rows of the ledger, so each call of a run is one.")),
		openapi.Always("errors", openapi.Int("Admitted requests that ended with an error, also those that used nothing.")),
		openapi.Always("input_tokens", openapi.Int("")), openapi.Always("output_tokens", openapi.Int("")),
		openapi.Always("cache_read_input_tokens", openapi.Int("")), openapi.Always("cache_creation_input_tokens", openapi.Int("")),
		openapi.Always("cost_micro_usd", openapi.Int("The known prices, in millionths of a US dollar.")),
		openapi.Always("unpriced_requests", openapi.Int("Those whose price isn't known.")),
		openapi.Always("charged_tokens", openapi.Int("What budgets were charged beside, for attempts of which too little is known. By backend it isn't known: 0.")),
		openapi.Always("charged_micro_usd", openapi.Int("The same in millionths of a US dollar.")),
	)
	return []endpoint{{
		Operation: openapi.Operation{
			Method: http.MethodGet, Path: pathSpend, ID: "adminSpend", Summary: "What was used in the present day, week or month.",
			Description: "Of each project's own time zone, as `claude-api usage` reports it.",
			Parameters: []openapi.Parameter{
				{Name: "period", In: "query", Schema: &openapi.Schema{Type: openapi.String, Enum: spendPeriods(), Default: string(budget.Month)}},
				{Name: "by", In: "query", Schema: &openapi.Schema{Type: openapi.String, Enum: spendGroups(), Default: byProject}},
			},
			Responses: answers(http.StatusOK, "The dearest first, days in their order.", openapi.Members("AdminSpendReport", "",
				openapi.Always("period", openapi.Words(spendPeriods()...)), openapi.Always("by", openapi.Words(spendGroups()...)), openapi.Always("rows", openapi.List(row)))),
		},
		serve: h.spend,
	}}
}

func (h *Handler) spend(w http.ResponseWriter, r *http.Request, _ *administrator) error {
	period, by := string(budget.Month), byProject
	for _, parameter := range []struct {
		name  string
		value *string
		words []string
	}{{"period", &period, spendPeriods()}, {"by", &by, spendGroups()}} {
		if text := r.URL.Query().Get(parameter.name); text != "" {
			*parameter.value = text
		}
		if !slices.Contains(parameter.words, *parameter.value) {
			return apierror.Invalid(parameter.name, "%s: must be one of %s", parameter.name, strings.Join(parameter.words, ", "))
		}
	}
	rows, err := h.spent(r.Context(), budget.Period(period), by)
	if err != nil {
		return err
	}
	return write(w, http.StatusOK, struct {
		Period string     `json:"period"`
		By     string     `json:"by"`
		Rows   []spendRow `json:"rows"`
	}{period, by, rows})
}

// spent adds up what was used in a period.
func (h *Handler) spent(ctx context.Context, period budget.Period, by string) ([]spendRow, error) {
	places, err := h.places(ctx)
	if err != nil {
		return nil, err
	}
	since := func(now time.Time, zone *time.Location) (usage.Filter, error) {
		return usage.Filter{Since: period.Start(now.In(zone))}, nil
	}
	outcomes, err := h.shared.counts.of(string(period)+" "+by, func() ([]usage.Outcome, error) {
		return h.reports().Outcomes(ctx, places, outcomesBy[by], since)
	})
	if err != nil {
		return nil, err
	}
	rows := []spendRow{}
	if by == byBackend {
		for _, o := range outcomes {
			total := usage.Total{Requests: o.Rows, Usage: o.Usage, CostMicroUSD: o.CostMicroUSD, Unpriced: o.Unpriced}
			rows = append(rows, viewTotal(o.Name, &total, o.Errors))
		}
		return rows, nil
	}
	sums, err := h.reports().Sums(ctx, places, "", since)
	if err != nil {
		return nil, err
	}
	failed := make(map[string]int64, len(outcomes))
	for _, o := range outcomes {
		failed[o.Name] = o.Errors
	}
	for _, group := range usage.Group(sums, nameBy[by]) {
		rows = append(rows, viewTotal(group.Name, &group.Total, failed[group.Name]))
		delete(failed, group.Name)
	}
	// Those of whom there are only errors, which have used nothing. Callers choose the
	// names of models that aren't there.
	more := int64(0)
	for _, o := range outcomes {
		switch errors := failed[o.Name]; {
		case errors == 0:
		case len(rows) < mostRows:
			rows = append(rows, viewTotal(o.Name, &usage.Total{}, errors))
		default:
			more += errors
		}
	}
	if more > 0 {
		rows = append(rows, viewTotal("others", &usage.Total{}, more))
	}
	switch by {
	case byDay:
		slices.SortFunc(rows, func(a, b spendRow) int { return strings.Compare(a.Name, b.Name) })
	case byKey:
		return rows, h.nameKeys(ctx, rows)
	}
	return rows, nil
}

var (
	nameBy = map[string]func(usage.Dated) string{
		byProject: func(s usage.Dated) string { return s.ProjectID },
		byKey:     func(s usage.Dated) string { return s.KeyID },
		byModel:   func(s usage.Dated) string { return s.Model },
		byDay:     func(s usage.Dated) string { return s.Date },
	}
	outcomesBy = map[string]usage.Dimension{
		byProject: usage.ByProject, byKey: usage.ByKey, byModel: usage.ByModel, byDay: usage.ByDay, byBackend: usage.ByBackend,
	}
)

// nameKeys gives rows that are named by keys' ids the keys' names.
func (h *Handler) nameKeys(ctx context.Context, rows []spendRow) error {
	keys, err := h.options.Keys.List(ctx)
	if err != nil {
		return err
	}
	names := make(map[string]string, len(keys))
	for _, k := range keys {
		names[k.ID] = k.Name
	}
	for i := range rows {
		rows[i].ID = rows[i].Name
		if name := names[rows[i].ID]; name != "" {
			rows[i].Name = name
		}
	}
	return nil
}

// counts are outcomes that were counted a while ago. To count them, all rows of a period
// are read, which in a month of millions takes seconds: so one counts at a time, and what
// took long is told again for as long as counting it anew would keep the database busy
// for more than a twentieth of the time.
type counts struct {
	mu   sync.Mutex // held while counting
	kept map[string]counted
}

// counted are outcomes, and until when they are told again.
type counted struct {
	outcomes []usage.Outcome
	until    time.Time
}

// rest is how many times as long as counting took its outcome is told again.
const rest = 20

func (c *counts) of(name string, count func() ([]usage.Outcome, error)) ([]usage.Outcome, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	begun := time.Now()
	if known, ok := c.kept[name]; ok && begun.Before(known.until) {
		return known.outcomes, nil
	}
	outcomes, err := count()
	if err != nil {
		return nil, err
	}
	if c.kept == nil {
		c.kept = map[string]counted{}
	}
	c.kept[name] = counted{outcomes, time.Now().Add(rest * time.Since(begun))}
	return outcomes, nil
}
