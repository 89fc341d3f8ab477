package processapi_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/processapi"
	"claude-code-api-service/internal/protocol/protocoltest"
	"claude-code-api-service/internal/usage"
)

func ptr(n int64) *int64 { return &n }

// spent is a budget.
func spent(limit, remaining *int64) func(context.Context, *gateway.Caller) (*int64, *int64, error) {
	return func(context.Context, *gateway.Caller) (*int64, *int64, error) { return limit, remaining, nil }
}

func TestRoute(t *testing.T) {
	for _, tt := range []struct {
		name, body       string
		limit, remaining *int64
		want             string
	}{
		{"simple", `{"prompt":"list the files"}`, nil, nil, `{"recommended_model":"haiku","reasoning":"a short prompt with the simple word \"list\": haiku is enough","budget_status":{"limit":null,"remaining":null,"status":"unlimited"}}`},
		{"large", `{"prompt":"x","context_size":10001}`, ptr(100_000), ptr(50_000), `{"recommended_model":"opus","reasoning":"the context is over 10000 tokens: opus handles it best","budget_status":{"limit":100000,"remaining":50000,"status":"ok"}}`},
		{"low", `{"prompt":"debug it","context_size":null}`, ptr(100_000), ptr(4_999), `{"recommended_model":"haiku","reasoning":"a complex task (\"debug\"), but under 5000 tokens of the budget are left: haiku","budget_status":{"limit":100000,"remaining":4999,"status":"low"}}`},
		{"spent", `{"prompt":""}`, ptr(100_000), ptr(0), `{"recommended_model":"haiku","reasoning":"under 1000 tokens of the budget are left: haiku is the cheapest","budget_status":{"limit":100000,"remaining":0,"status":"spent"}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rooms := &protocoltest.Rooms{AdmitErr: errors.New("it counts")}
			o := options(rooms)
			o.Budget = spent(tt.limit, tt.remaining)
			answer := protocoltest.Post(t, start(t, o)+"/v1/route", tt.body)
			if answer.Status != http.StatusOK || answer.Body != tt.want {
				t.Errorf("%d\ngot  %s\nwant %s", answer.Status, answer.Body, tt.want)
			}
		})
	}
}

func TestRouteRefusals(t *testing.T) {
	url := start(t, options(&protocoltest.Rooms{})) + "/v1/route"
	for _, tt := range []struct{ name, body, contains string }{
		{"no prompt", `{}`, `{"detail":"prompt: field required"`},
		{"another kind", `{"prompt":1}`, `"param":"prompt"`},
		{"negative", `{"prompt":"x","context_size":-1}`, `"param":"context_size"`},
	} {
		if answer := protocoltest.Post(t, url, tt.body); answer.Status != http.StatusBadRequest || !strings.Contains(answer.Body, tt.contains) {
			t.Errorf("%s: %d %s", tt.name, answer.Status, answer.Body)
		}
	}
	if answer := protocoltest.Post(t, url, `{"prompt":"x","extra":1}`); answer.Header.Get("X-Claude-Warnings") != "extra: has no effect here" {
		t.Errorf("header = %v", answer.Header)
	}
}

func sampleReport() usage.Report {
	total := usage.Total{Requests: 3, Usage: message.Usage{InputTokens: 1, OutputTokens: 2, CacheReadInputTokens: 3, CacheCreationInputTokens: 4}, CostMicroUSD: 1_500_000, Unpriced: 1, Charged: budget.Amount{Tokens: 40, MicroUSD: 250_000}}
	return usage.Report{
		Since: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Total: total,
		ByModel: map[string]usage.Total{"claude-b": {}, `=a"`: total},
		ByKey:   map[string]usage.Total{"k1": total}, ByDay: map[string]usage.Total{"2026-03-01": total},
	}
}

func TestUsage(t *testing.T) {
	const (
		counts = `"input_tokens":1,"output_tokens":2,"cache_read_input_tokens":3,"cache_creation_input_tokens":4,"requests":3,"unpriced_requests":1,"charged_tokens":40,"charged_usd":0.25`
		group  = `{"tokens":3,"cost":1.5,` + counts + `}`
		head   = `"since":"2026-03-01T00:00:00Z","total_tokens":3,"total_cost":1.5,` + counts +
			`,"by_model":{"=a\"":` + group + `,"claude-b":{"tokens":0,"cost":0,"input_tokens":0,"output_tokens":0,"cache_read_input_tokens":0,"cache_creation_input_tokens":0,"requests":0,"unpriced_requests":0}}`
		columns = ",requests,tokens,input_tokens,output_tokens,cache_read_input_tokens,cache_creation_input_tokens,cost_usd,unpriced_requests,charged_tokens,charged_usd\n"
	)
	for _, tt := range []struct {
		name, query, accept string
		asked, contentType  string
		want                string
	}{
		{"by default", "", "", "month", "application/json", `{"project_id":"acme","period":"month",` + head + `,"limit":9,"remaining":null}`},
		{"by key", "?period=day&group_by=key", "", "day", "application/json", `{"project_id":"acme","period":"day",` + head + `,"by_key":{"k1":` + group + `},"limit":9,"remaining":null}`},
		{"by day", "?period=week&group_by=day", "", "week", "application/json", `{"project_id":"acme","period":"week",` + head + `,"by_day":{"2026-03-01":` + group + `},"limit":9,"remaining":null}`},
		{"CSV", "?format=csv", "", "month", "text/csv; charset=utf-8", "model" + columns + "\"'=a\"\"\",3,3,1,2,3,4,1.5,1,40,0.25\nclaude-b,0,0,0,0,0,0,0,0,0,0\n"},
		{"CSV by key", "?group_by=key", "text/csv, */*", "month", "text/csv; charset=utf-8", "key" + columns + "k1,3,3,1,2,3,4,1.5,1,40,0.25\n"},
		{"JSON all the same", "?format=json", "text/csv", "month", "application/json", `{"project_id":"acme","period":"month",` + head + `,"limit":9,"remaining":null}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options(&protocoltest.Rooms{AdmitErr: errors.New("it counts")})
			reports := &reports{report: sampleReport()}
			o.Usage, o.Budget = reports, spent(ptr(9), nil)
			answer := protocoltest.Do(t, http.MethodGet, start(t, o)+"/v1/usage"+tt.query, "", "X-Api-Key", protocoltest.Key, "Accept", tt.accept)
			if answer.Status != http.StatusOK || answer.Body != tt.want || answer.Header.Get("Content-Type") != tt.contentType {
				t.Errorf("%d %s\ngot  %s\nwant %s", answer.Status, answer.Header.Get("Content-Type"), answer.Body, tt.want)
			}
			if reports.asked != "acme "+tt.asked {
				t.Errorf("asked for %s", reports.asked)
			}
		})
	}
}

func TestUsageRefusals(t *testing.T) {
	o := options(&protocoltest.Rooms{})
	o.Usage = &reports{err: errors.New("secret")}
	url := start(t, o) + "/v1/usage"
	for query, want := range map[string]string{
		"?period=year": `{"detail":"period: must be day, week or month"`, "?period=": `"param":"period"`,
		"?group_by=x": `"param":"group_by"`, "?format=xml": `"param":"format"`,
	} {
		answer := protocoltest.Do(t, http.MethodGet, url+query, "", "X-Api-Key", protocoltest.Key)
		if answer.Status != http.StatusBadRequest || !strings.Contains(answer.Body, want) {
			t.Errorf("%s: %d %s", query, answer.Status, answer.Body)
		}
	}
	if answer := protocoltest.Do(t, http.MethodGet, url, "", "X-Api-Key", protocoltest.Key); answer.Status != 500 || strings.Contains(answer.Body, "secret") {
		t.Errorf("a ledger that fails: %d %s", answer.Status, answer.Body)
	}
	if answer := protocoltest.Do(t, http.MethodGet, url, ""); answer.Status != http.StatusUnauthorized {
		t.Errorf("without a key: %d", answer.Status)
	}
	o.Usage = &reports{}
	answer := protocoltest.Do(t, http.MethodGet, start(t, o)+"/v1/usage?project_id=other&x=1", "", "X-Api-Key", protocoltest.Key)
	if got := answer.Header.Get("X-Claude-Warnings"); got != "project_id: the key's project is reported; x: has no effect here" {
		t.Errorf("warnings = %q", got)
	}
}

func TestProviders(t *testing.T) {
	yes := func() bool { return true }
	no := func() bool { return false }
	o := options(&protocoltest.Rooms{})
	o.Providers = []processapi.Provider{
		{Name: "claudecode", DisplayName: "CLI", Backend: "cli", Available: yes, Models: []processapi.ProviderModel{
			{ID: "haiku", DisplayName: "Haiku", ContextWindow: 200_000, MaxTokens: 64_000}, {ID: "x", DisplayName: "X"},
		}},
		{Name: "anthropic", DisplayName: "API", Backend: "direct", Available: no},
	}
	url := start(t, o) + "/v1/providers"
	for _, tt := range []struct {
		path   string
		status int
		want   string
	}{
		{"", 200, `{"providers":[{"name":"claudecode","display_name":"CLI","backend":"cli","available":true,"models":["haiku","x"]},{"name":"anthropic","display_name":"API","backend":"direct","available":false,"models":[]}]}`},
		{"/claudecode/models", 200, `{"provider":"claudecode","available":true,"models":[{"id":"haiku","name":"Haiku","context_window":200000,"max_tokens":64000},{"id":"x","name":"X","context_window":null,"max_tokens":null}]}`},
		{"/anthropic/models", 200, `{"provider":"anthropic","available":false,"models":[]}`},
		{"/openai/models", 404, `{"detail":"provider: there is none of this name; there are claudecode and anthropic","error":{"message":"provider: there is none of this name; there are claudecode and anthropic","type":"bad_request","param":"provider","code":"not_found"}}`},
	} {
		if answer := protocoltest.Do(t, http.MethodGet, url+tt.path, "", "X-Api-Key", protocoltest.Key); answer.Status != tt.status || answer.Body != tt.want {
			t.Errorf("%s: %d\ngot  %s\nwant %s", tt.path, answer.Status, answer.Body, tt.want)
		}
	}
	if answer := protocoltest.Do(t, http.MethodGet, url, ""); answer.Status != http.StatusUnauthorized {
		t.Errorf("without a key: %d", answer.Status)
	}
}
