package processapi

import (
	"bytes"
	"encoding/csv"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/usage"
)

// defaultPeriod is the period of a report that names none.
const defaultPeriod = budget.Month

// periods are those of which there are reports.
func periods() []string {
	return []string{string(budget.Day), string(budget.Week), string(budget.Month)}
}

// How a report may be grouped beside by model.
const (
	groupModel = "model"
	groupKey   = "key"
	groupDay   = "day"
)

// The forms of a report.
const (
	formatJSON = "json"
	formatCSV  = "csv"
	typeCSV    = "text/csv; charset=utf-8"
)

// usageQuery is what a report is asked for.
type usageQuery struct {
	period budget.Period
	group  string
	csv    bool
}

func readUsageQuery(r *http.Request, call *gateway.Call) (usageQuery, error) {
	values := r.URL.Query()
	q := usageQuery{period: defaultPeriod, group: groupModel, csv: strings.Contains(r.Header.Get("Accept"), "text/csv")}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := values.Get(name)
		switch name {
		case "period":
			q.period = budget.Period(value)
			if !slices.Contains(periods(), value) {
				return q, apierror.Invalid(name, "period: must be day, week or month")
			}
		case "group_by":
			q.group = value
			if value != groupModel && value != groupKey && value != groupDay {
				return q, apierror.Invalid(name, "group_by: must be model, key or day")
			}
		case "format":
			q.csv = value == formatCSV
			if value != formatJSON && !q.csv {
				return q, apierror.Invalid(name, "format: must be json or csv")
			}
		case "project_id":
			if value != "" && value != defaultProject && value != call.Caller.ProjectID {
				call.Warn("project_id: the key's project is reported")
			}
		default:
			call.Warn(name + ": has no effect here")
		}
	}
	return q, nil
}

// serveUsage reports what the key's project has used. It reads the ledger, in
// which every request stands that has been answered; nothing counts against the
// caller's limits, and a budget that is spent doesn't stand in the way.
func (h *Handler) serveUsage(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	q, err := readUsageQuery(r, call)
	if err == nil {
		err = call.Honoured()
	}
	if err != nil {
		return err
	}
	report, err := h.options.Usage.Report(r.Context(), call.Caller, q.period)
	if err != nil {
		if r.Context().Err() != nil {
			return gone(r.Context())
		}
		return err
	}
	groups := report.ByModel
	switch q.group {
	case groupKey:
		groups = report.ByKey
	case groupDay:
		groups = report.ByDay
	}
	protocol.SetHeader(w.Header(), call)
	if q.csv {
		return writeCSV(w, q, groups)
	}
	limit, remaining, err := h.options.Budget(r.Context(), call.Caller)
	if err != nil {
		return err
	}
	dst := protocol.AppendText([]byte(`{"project_id":`), call.Caller.ProjectID)
	dst = protocol.AppendText(append(dst, `,"period":`...), string(q.period))
	dst = report.Since.AppendFormat(append(dst, `,"since":"`...), "2006-01-02T15:04:05Z07:00")
	dst = append(dst, `",`...)
	dst = appendTotal(dst, "total_", &report.Total)
	dst = appendGroups(append(dst, `,"by_model":`...), report.ByModel)
	if q.group != groupModel {
		dst = appendGroups(append(append(append(dst, `,"by_`...), q.group...), `":`...), groups)
	}
	dst = appendLimit(append(dst, `,"limit":`...), limit)
	dst = appendLimit(append(dst, `,"remaining":`...), remaining)
	return protocol.WriteJSON(w, http.StatusOK, append(dst, '}'))
}

// appendTotal appends the members of a total, without braces; prefix stands in
// front of tokens and cost. What budgets were charged beside all this is there where
// anything was.
func appendTotal(dst []byte, prefix string, t *usage.Total) []byte {
	u := t.Usage
	dst = append(append(append(dst, '"'), prefix...), `tokens":`...)
	dst = strconv.AppendInt(dst, u.Total(), 10)
	dst = append(append(append(dst, `,"`...), prefix...), `cost":`...)
	dst = appendCost(dst, &t.CostMicroUSD)
	for _, field := range [...]struct {
		name  string
		value int64
	}{
		{`,"input_tokens":`, u.InputTokens},
		{`,"output_tokens":`, u.OutputTokens},
		{`,"cache_read_input_tokens":`, u.CacheReadInputTokens},
		{`,"cache_creation_input_tokens":`, u.CacheCreationInputTokens},
		{`,"requests":`, t.Requests},
		{`,"unpriced_requests":`, t.Unpriced},
	} {
		dst = strconv.AppendInt(append(dst, field.name...), field.value, 10)
	}
	if charged := t.Charged; charged != (budget.Amount{}) {
		dst = strconv.AppendInt(append(dst, `,"charged_tokens":`...), charged.Tokens, 10)
		dst = appendCost(append(dst, `,"charged_usd":`...), &charged.MicroUSD)
	}
	return dst
}

func appendGroups(dst []byte, groups map[string]usage.Total) []byte {
	dst = append(dst, '{')
	for i, name := range slices.Sorted(maps.Keys(groups)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		total := groups[name]
		dst = append(protocol.AppendText(dst, name), ":{"...)
		dst = append(appendTotal(dst, "", &total), '}')
	}
	return append(dst, '}')
}

// writeCSV writes a report as a table with one line for each group.
func writeCSV(w http.ResponseWriter, q usageQuery, groups map[string]usage.Total) error {
	var body bytes.Buffer
	table := csv.NewWriter(&body) // a Buffer takes everything, so no error is lost
	_ = table.Write([]string{
		q.group, "requests", "tokens", "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
		"cost_usd", "unpriced_requests", "charged_tokens", "charged_usd",
	})
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		t := groups[name]
		line := []string{cell(name)}
		for _, n := range [...]int64{
			t.Requests, t.Usage.Total(), t.Usage.InputTokens, t.Usage.OutputTokens, t.Usage.CacheReadInputTokens, t.Usage.CacheCreationInputTokens,
		} {
			line = append(line, strconv.FormatInt(n, 10))
		}
		_ = table.Write(append(
			line, string(appendCost(nil, &t.CostMicroUSD)), strconv.FormatInt(t.Unpriced, 10),
			strconv.FormatInt(t.Charged.Tokens, 10), string(appendCost(nil, &t.Charged.MicroUSD)),
		))
	}
	table.Flush()
	h := w.Header()
	h.Set("Content-Type", typeCSV)
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	h.Set("Content-Disposition", `attachment; filename="usage-`+string(q.period)+`.csv"`)
	w.WriteHeader(http.StatusOK)
	_, err := body.WriteTo(w)
	if err != nil {
		return apierror.Wrap(apierror.ClientClosed, "the caller left", err)
	}
	return nil
}

// cell keeps a spreadsheet from taking a text for a formula: callers choose the
// names of models (owasp.org, "CSV Injection").
func cell(text string) string {
	if text != "" && strings.ContainsAny(text[:1], "=+-@\t\r") {
		return "'" + text
	}
	return text
}
