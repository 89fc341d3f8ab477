package adminapi_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/usage"
)

// budgetTold is a budget as it is told of.
type budgetTold struct {
	OwnerKind   string     `json:"owner_kind"`
	OwnerID     string     `json:"owner_id"`
	OwnerName   string     `json:"owner_name"`
	ProjectID   string     `json:"project_id"`
	Period      string     `json:"period"`
	Unit        string     `json:"unit"`
	Hard        int64      `json:"hard"`
	Soft        int64      `json:"soft"`
	SoftPercent int        `json:"soft_percent"`
	Spent       int64      `json:"spent"`
	Held        int64      `json:"held"`
	Left        *int64     `json:"left"`
	ResetsAt    *time.Time `json:"resets_at"`
}

func (b *budgetTold) String() string {
	left := "-"
	if b.Left != nil {
		left = fmt.Sprint(*b.Left)
	}
	return fmt.Sprintf("%s %s %s %s: %d %d %d%%, %d+%d, %s", b.OwnerKind, b.OwnerID, b.Period, b.Unit, b.Hard, b.Soft, b.SoftPercent, b.Spent, b.Held, left)
}

// TestBudgets sets budgets, looks at what requests spend and hold of them, and takes one
// away.
func TestBudgets(t *testing.T) {
	h := newHall(t)
	var set budgetTold
	h.get(t, http.MethodPut, "/budgets", `{"owner_kind":"key","owner_id":"`+h.keyID+`","period":"day","unit":"tokens","hard":100000,"soft_percent":75}`, &set)
	if got := set.String(); got != "key "+h.keyID+" day tokens: 100000 75000 75%, 0+0, 100000" || set.OwnerName != "first" || set.ProjectID != "alpha" || set.ResetsAt == nil || time.Until(*set.ResetsAt) > 24*time.Hour {
		t.Errorf("set %s, %+v", got, set)
	}
	h.get(t, http.MethodPut, "/budgets", `{"owner_kind":"project","owner_id":"alpha","period":"total","unit":"usd","hard":2000000,"soft":500}`, &set)
	if got := set.String(); got != "project alpha total usd: 2000000 500 0%, 0+0, 2000000" || set.ResetsAt != nil {
		t.Errorf("set %s, %v", got, set.ResetsAt)
	}
	h.get(t, http.MethodPut, "/budgets", `{"owner_kind":"project","owner_id":"alpha","period":"day","unit":"usd","soft":500}`, &set)
	if got := set.String(); got != "project alpha day usd: 0 500 0%, 0+0, -" {
		t.Errorf("set %s", got)
	}
	// In place of the first, by which nothing is counted anew.
	h.get(t, http.MethodPut, "/budgets", `{"owner_kind":"key","owner_id":"`+h.keyID+`","period":"day","unit":"tokens","hard":50000}`, &set)
	h.spend(t, h.keyID, nil)

	// A request that runs holds what it may use.
	caller := &gateway.Caller{KeyID: h.keyID, ProjectID: "alpha", Budgets: []budget.Limit{{Owner: budget.Owner{Kind: budget.Key, ID: h.keyID}, Period: budget.Day, Unit: budget.Tokens, Hard: 50_000}}}
	request, err := message.ParseRequest([]byte(`{"model":"haiku","max_tokens":1000,"messages":[{"role":"user","content":"hello"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	call := &gateway.Call{Caller: caller, Request: request, Model: "haiku", Clock: latency.Start()}
	if err := h.admitter.Admit(t.Context(), call); err != nil {
		t.Fatal(err)
	}
	if err := h.admitter.Reserve(t.Context(), call); err != nil {
		t.Fatal(err)
	}
	var list struct {
		Budgets []budgetTold `json:"budgets"`
	}
	h.get(t, http.MethodGet, "/budgets", "", &list)
	held := call.Held.Tokens
	want := []string{
		fmt.Sprintf("key %s day tokens: 50000 0 0%%, 15+%d, %d", h.keyID, held, 50_000-15-held),
		"project alpha day usd: 0 500 0%, 1000+0, -", "project alpha total usd: 2000000 500 0%, 1000+0, 1999000",
	}
	var got []string
	for i := range list.Budgets {
		got = append(got, list.Budgets[i].String())
	}
	if !slices.Equal(got, want) || held < 1000 {
		t.Errorf("%d are held; the budgets are\n%q, want\n%q", held, got, want)
	}
	h.admitter.Release(call, gateway.Result{CostMicroUSD: new(int64)})

	if status, text := h.ask(t, http.MethodDelete, "/budgets?owner_kind=key&owner_id="+h.keyID+"&period=day&unit=tokens", ""); status != http.StatusNoContent {
		t.Errorf("%d %s", status, text)
	}
	left, err := h.keys.ListBudgets(t.Context())
	if err != nil || len(left) != 2 {
		t.Errorf("%+v, %v", left, err)
	}
	noted := h.noted(t)
	if len(noted) != 5 || noted[1] != "budget.set alpha project, usd in total, hard=2, soft=0.0005" || noted[4] != "budget.removed "+h.keyID+" key, tokens per day" {
		t.Errorf("noted %q", noted)
	}
}

func TestBudgetsThatAreRefused(t *testing.T) {
	h := newHall(t)
	put := func(body string, status int, param string) refusal {
		return refusal{http.MethodPut, "/budgets", body, status, param}
	}
	of := func(rest string) string { return `{"owner_kind":"key","owner_id":"` + h.keyID + `",` + rest + `}` }
	remove := func(query string, status int, param string) refusal {
		return refusal{http.MethodDelete, "/budgets" + query, "", status, param}
	}
	const bad, missing = http.StatusBadRequest, http.StatusNotFound
	h.refuses(
		t, put(`{}`, bad, "hard"), put(`{"hard":1}`, bad, "owner_id"), put(`{"owner_kind":"house","owner_id":"x","period":"day","unit":"usd","hard":1}`, bad, "owner_kind"),
		put(of(`"period":"year","unit":"usd","hard":1`), bad, "period"), put(of(`"period":"day","unit":"euro","hard":1`), bad, "unit"),
		put(of(`"period":"day","unit":"usd","hard":-1`), bad, "hard"), put(of(`"period":"day","unit":"usd","hard":1,"soft":2`), bad, "soft"),
		put(of(`"period":"day","unit":"usd","hard":"1"`), bad, "hard"), put(of(`"period":"day","unit":"usd","hard":1,"soft_percent":200`), bad, "soft_percent"),
		put(of(`"period":"day","unit":"usd","soft_percent":20`), bad, "soft_percent"), put(of(`"period":"day","unit":"usd","hard":1,"soft":1,"soft_percent":1`), bad, "soft"),
		put(`{"owner_kind":"key","owner_id":"`+h.key+`","period":"day","unit":"usd","hard":1}`, bad, "owner_id"),
		put(`{"owner_kind":"key","owner_id":"`+h.adminID+`","period":"day","unit":"usd","hard":1}`, bad, "owner_id"),
		put(`{"owner_kind":"key","owner_id":"key_0","period":"day","unit":"usd","hard":1}`, missing, "owner_id"),
		put(`{"owner_kind":"project","owner_id":"nobody","period":"day","unit":"usd","hard":1}`, missing, "owner_id"),
		put(`{"owner_kind":"project","owner_id":"a b","period":"day","unit":"usd","hard":1}`, bad, "owner_id"),
		remove("", bad, "owner_kind"), remove("?owner_kind=key&owner_id=x", bad, "period"), remove("?owner_kind=key&owner_id=x&period=day", bad, "unit"),
		remove("?owner_kind=key&owner_id="+h.keyID+"&period=day&unit=usd", missing, "owner_id"),
	)
	if left, err := h.keys.ListBudgets(t.Context()); err != nil || len(left) != 0 || len(h.noted(t)) != 0 {
		t.Errorf("something was set: %+v, %v", left, err)
	}
}

// TestSpend holds what is told of spending to the ledger's rows, and to the same sums as
// the commands'.
func TestSpend(t *testing.T) {
	h := newHall(t)
	if err := h.keys.SetProject(t.Context(), apikey.Project{ID: "beta", TimeZone: "Pacific/Auckland"}); err != nil {
		t.Fatal(err)
	}
	_, second := h.make(t, apikey.Create{ProjectID: "beta"})
	h.spend(t, h.keyID, nil)
	h.spend(t, h.keyID, func(e *gateway.Entry) {
		e.Backend, e.Result.Model = "direct", "claude-opus"
		*e.Result.CostMicroUSD = 7000
	})
	h.spend(t, h.keyID, func(e *gateway.Entry) { // it has used something, nobody knows what it cost
		e.Status, e.Category, e.Result.CostMicroUSD, e.Charged = 502, "upstream_error", nil, budget.Amount{MicroUSD: 40}
	})
	h.spend(t, h.keyID, func(e *gateway.Entry) { // it was refused
		e.Status, e.Category, e.Result, e.Backend, e.Routed, e.Requested = 404, "bad_request", gateway.Result{}, "", "", "nothing"
	})
	h.spend(t, second, func(e *gateway.Entry) { *e.Result.CostMicroUSD = 3000 })
	h.spend(t, second, func(e *gateway.Entry) { // long ago
		e.Time = e.Time.AddDate(0, -2, 0)
	})
	type row struct {
		Name          string `json:"name"`
		ID            string `json:"id"`
		Requests      int64  `json:"requests"`
		Errors        int64  `json:"errors"`
		InputTokens   int64  `json:"input_tokens"`
		OutputTokens  int64  `json:"output_tokens"`
		CacheRead     int64  `json:"cache_read_input_tokens"`
		CacheCreation int64  `json:"cache_creation_input_tokens"`
		CostMicroUSD  int64  `json:"cost_micro_usd"`
		Unpriced      int64  `json:"unpriced_requests"`
		ChargedMicro  int64  `json:"charged_micro_usd"`
	}
	type report struct {
		Period string `json:"period"`
		By     string `json:"by"`
		Rows   []row  `json:"rows"`
	}
	auckland, err := time.LoadLocation("Pacific/Auckland")
	if err != nil {
		t.Fatal(err)
	}
	here, there := time.Now().UTC().Format(time.DateOnly), time.Now().In(auckland).Format(time.DateOnly)
	days := []string{here + "  3 2 8000 1 40", there + "  1 0 3000 0 0"}
	if here == there {
		days = []string{here + "  4 2 11000 1 40"}
	}
	for query, want := range map[string][]string{
		"":                        {"alpha  3 2 8000 1 40", "beta  1 0 3000 0 0"},
		"?by=project":             {"alpha  3 2 8000 1 40", "beta  1 0 3000 0 0"},
		"?by=key&period=day":      {"first " + h.keyID + " 3 2 8000 1 40", second + " " + second + " 1 0 3000 0 0"},
		"?by=model&period=day":    {"claude-opus  1 0 7000 0 0", "claude-haiku  3 1 4000 1 40", "nothing  0 1 0 0 0"},
		"?by=backend":             {"direct  1 0 7000 0 0", "cli  3 1 4000 1 0", "  1 1 0 0 0"},
		"?by=day&period=day":      days,
		"?by=project&period=week": {"alpha  3 2 8000 1 40", "beta  1 0 3000 0 0"},
	} {
		var got report
		h.get(t, http.MethodGet, "/spend"+query, "", &got)
		var rows []string
		for _, r := range got.Rows {
			rows = append(rows, fmt.Sprintf("%s %s %d %d %d %d %d", r.Name, r.ID, r.Requests, r.Errors, r.CostMicroUSD, r.Unpriced, r.ChargedMicro))
			if n := r.Requests; r.InputTokens != 10*n && r.Name != "" || r.OutputTokens*2 != r.InputTokens || r.CacheCreation*2 != r.CacheRead {
				t.Errorf("%s: %+v", query, r)
			}
		}
		if !slices.Equal(rows, want) || got.Period == "" || got.By == "" {
			t.Errorf("%s: %s by %s\n%q, want\n%q", query, got.Period, got.By, rows, want)
		}
	}
	// A caller who makes up models makes no endless report.
	for n := range 600 {
		h.spend(t, second, func(e *gateway.Entry) {
			e.Status, e.Category, e.Result, e.Backend, e.Routed, e.Requested = 404, "bad_request", gateway.Result{}, "", "", fmt.Sprint("made-up-", n)
		})
	}
	var long report
	h.get(t, http.MethodGet, "/spend?by=model&period=week", "", &long)
	if n := len(long.Rows); n != 501 || long.Rows[500].Name != "others" || long.Rows[500].Errors != 600+3-500 {
		t.Errorf("%d rows, the last %+v", n, long.Rows[n-1])
	}
	// What a project sees of itself says the same.
	own, err := usage.NewReports(usage.ReportsOptions{Store: h.db}).Report(t.Context(), &gateway.Caller{ProjectID: "alpha"}, budget.Month)
	if err != nil || own.CostMicroUSD != 8000 || own.Requests != 3 || own.Charged.MicroUSD != 40 {
		t.Errorf("%+v, %v", own, err)
	}
	h.refuses(
		t, refusal{http.MethodGet, "/spend?period=year", "", http.StatusBadRequest, "period"}, refusal{http.MethodGet, "/spend?period=total", "", http.StatusBadRequest, "period"},
		refusal{http.MethodGet, "/spend?by=moon", "", http.StatusBadRequest, "by"},
	)
}

// TestAuditIsPaged reads the log from its end, page by page.
func TestAuditIsPaged(t *testing.T) {
	h := newHall(t)
	for range 3 {
		h.get(t, http.MethodPatch, "/keys/"+h.keyID, `{"name":"a"}`, &keyTold{})
		h.get(t, http.MethodPatch, "/keys/"+h.keyID, `{"name":"b"}`, &keyTold{})
	}
	h.get(t, http.MethodPut, "/budgets", `{"owner_kind":"project","owner_id":"alpha","period":"day","unit":"tokens","hard":5}`, &budgetTold{})
	type page struct {
		Events []struct {
			ID        int64     `json:"id"`
			Time      time.Time `json:"time"`
			Actor     string    `json:"actor"`
			Address   string    `json:"address"`
			Action    string    `json:"action"`
			Target    string    `json:"target"`
			ProjectID string    `json:"project_id"`
			Detail    string    `json:"detail"`
			RequestID string    `json:"request_id"`
		} `json:"events"`
		Next *int64 `json:"next"`
	}
	var ids []int64
	path := "/audit?limit=3"
	for pages := 1; ; pages++ {
		var p page
		h.get(t, http.MethodGet, path, "", &p)
		for _, e := range p.Events {
			ids = append(ids, e.ID)
			if e.Actor != h.adminID || e.Address != "127.0.0.1" || e.RequestID != "req_1" || e.ProjectID != "alpha" || time.Since(e.Time) > time.Minute || e.Detail == "" {
				t.Errorf("%+v", e)
			}
		}
		if pages == 1 && p.Events[0].Action != "budget.set" {
			t.Errorf("the newest is %+v", p.Events[0])
		}
		if p.Next == nil {
			break
		}
		path = fmt.Sprintf("/audit?limit=3&before=%d", *p.Next)
	}
	if len(ids) != 7 || !slices.IsSortedFunc(ids, func(a, b int64) int { return int(b - a) }) {
		t.Errorf("the pages hold %v", ids)
	}
	for query, want := range map[string]int{
		"?action=budget.set": 1, "?actor=" + h.adminID: 7, "?actor=cli": 0, "?key_id=" + h.keyID: 6, "?project_id=alpha&action=key.updated": 6, "?project_id=beta": 0,
	} {
		var p page
		if h.get(t, http.MethodGet, "/audit"+query, "", &p); len(p.Events) != want || p.Next != nil || p.Events == nil {
			t.Errorf("%s: %+v, want %d", query, p, want)
		}
	}
	var refusals []refusal
	for query, param := range map[string]string{"limit=0": "limit", "limit=x": "limit", "limit=1001": "limit", "before=0": "before", "before=x": "before", "action=key.stolen": "action"} {
		refusals = append(refusals, refusal{http.MethodGet, "/audit?" + query, "", http.StatusBadRequest, param})
	}
	h.refuses(t, refusals...)
}
