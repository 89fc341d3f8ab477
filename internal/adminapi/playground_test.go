package adminapi_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/task"
	"claude-code-api-service/internal/usage"
)

// play asks the playground and gives the events of its answer.
func (h *hall) play(t *testing.T, path, body string) []frame {
	t.Helper()
	response := h.request(t, http.MethodPost, path, body, "X-Api-Key", h.admin, "X-Test", "1")
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" || response.Header.Get("Cache-Control") != "no-store" {
		text, _ := io.ReadAll(response.Body)
		t.Fatalf("%d %s, %v", response.StatusCode, text, response.Header)
	}
	return frames(t, response.Body, nil)
}

func decode(t *testing.T, f frame, into any) {
	t.Helper()
	if err := json.Unmarshal(f.data, into); err != nil {
		t.Fatalf("%s %s: %v", f.event, f.data, err)
	}
}

// TestChat has prompts answered in a key's name, on each way.
func TestChat(t *testing.T) {
	h := newHall(t)
	h.backend.answer = says(`hel`, `lo \"there\"`)
	for _, tt := range []struct {
		path, prefer string
		fresh        bool
	}{{`,"path":"warm"`, gateway.BackendCLI, false}, {"", gateway.BackendCLI, false}, {`,"path":"cold"`, gateway.BackendCLI, true}, {`,"path":"direct"`, gateway.BackendDirect, false}} {
		list := h.play(t, "/playground/chat", `{"key_id":"`+h.keyID+`","model":"haiku","prompt":"say \"hi\"","system":"be brief","max_tokens":50`+tt.path+`}`)
		if got := events(list); got != "start token token done" {
			t.Fatalf("%s: %s", tt.path, got)
		}
		var start struct {
			RequestID string `json:"request_id"`
		}
		if decode(t, list[0], &start); start.RequestID != "req_1" {
			t.Errorf("%+v", start)
		}
		text := ""
		for _, f := range list[1:3] {
			var token struct {
				Text string `json:"text"`
			}
			decode(t, f, &token)
			text += token.Text
		}
		if text != `hello "there"` {
			t.Errorf("text %q", text)
		}
		var done struct {
			Usage struct {
				InputTokens  int64 `json:"input_tokens"`
				OutputTokens int64 `json:"output_tokens"`
			} `json:"usage"`
			CostMicroUSD *int64             `json:"cost_micro_usd"`
			Model        string             `json:"model"`
			Backend      string             `json:"backend"`
			Stages       map[string]float64 `json:"stages"`
			TotalMS      float64            `json:"total_ms"`
			TTFTMS       *float64           `json:"ttft_ms"`
		}
		decode(t, list[3], &done)
		if done.Usage.InputTokens != 7 || done.Usage.OutputTokens != 3 || done.CostMicroUSD == nil || *done.CostMicroUSD != 1234 || done.Model != "claude-answered" || done.Backend != tt.prefer {
			t.Errorf("%s: %+v", tt.path, done)
		}
		sum := 0.0
		for _, ms := range done.Stages {
			sum += ms
		}
		if _, known := done.Stages["record"]; !known || done.TotalMS < sum-0.01 || done.TTFTMS == nil || *done.TTFTMS <= 0 || *done.TTFTMS > done.TotalMS {
			t.Errorf("%s: it took %+v", tt.path, done)
		}
		call := h.backend.calls[len(h.backend.calls)-1]
		if call.Prefer != tt.prefer || call.Fresh != tt.fresh || call.Caller.KeyID != h.keyID || call.Caller.Admin || call.Endpoint != "/admin/v1/playground/chat" || call.Address != "127.0.0.1" {
			t.Errorf("%s: the call is %+v", tt.path, call)
		}
		if want := `{"model":"haiku","max_tokens":50,"stream":true,"system":"be brief","messages":[{"role":"user","content":"say \"hi\""}]}`; string(call.Request.Body()) != want {
			t.Errorf("%s: the body is %s", tt.path, call.Request.Body())
		}
	}
	rows, err := h.db.ListUsage(t.Context(), 0, 10, usage.Filter{KeyID: h.keyID})
	if err != nil || len(rows) != 4 || rows[0].Endpoint != "/admin/v1/playground/chat" || rows[0].ProjectID != "alpha" || *rows[0].CostMicroUSD != 1234 {
		t.Errorf("the ledger has %+v, %v", rows, err)
	}
	want := []string{"playground.chat " + h.keyID + " warm haiku", "playground.chat " + h.keyID + " warm haiku", "playground.chat " + h.keyID + " cold haiku", "playground.chat " + h.keyID + " direct haiku"}
	if got := h.noted(t); !slices.Equal(got, want) {
		t.Errorf("noted %q", got)
	}
}

// TestChatHoldsLimits spends a key's budget and its requests in the playground: they hold
// there as anywhere.
func TestChatHoldsLimits(t *testing.T) {
	h := newHall(t)
	_, poor := h.make(t, apikey.Create{ProjectID: "alpha", Budgets: []budget.Limit{{Period: budget.Day, Unit: budget.USD, Hard: 20_000}}})
	_, slow := h.make(t, apikey.Create{ProjectID: "alpha", RequestsPerMinute: new(1)})
	ask := func(key string) (int, string) {
		return h.ask(t, http.MethodPost, "/playground/chat", `{"key_id":"`+key+`","model":"haiku","prompt":"hello","max_tokens":10}`)
	}
	for _, key := range []string{poor, slow} {
		if status, text := ask(key); status != http.StatusOK || !strings.Contains(text, "event: done") {
			t.Fatalf("%d %s", status, text)
		}
	}
	if status, text := ask(slow); status != http.StatusTooManyRequests {
		t.Errorf("a second request of the minute: %d %s", status, text)
	}
	h.backend.answer = func(ctx context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
		result, err := says("dear")(ctx, call, out)
		*result.CostMicroUSD = 19_000
		return result, err
	}
	if status, text := ask(poor); status != http.StatusOK {
		t.Errorf("the last request of the budget: %d %s", status, text)
	}
	if status, text := ask(poor); status != http.StatusForbidden || !strings.Contains(text, `"type":"budget_exceeded"`) {
		t.Errorf("a spent budget: %d %s", status, text)
	}
	var list struct {
		Budgets []budgetTold `json:"budgets"`
	}
	if h.get(t, http.MethodGet, "/budgets", "", &list); len(list.Budgets) != 1 || list.Budgets[0].Spent != 20_234 || *list.Budgets[0].Left != 0 || list.Budgets[0].Held != 0 {
		t.Errorf("%+v", list.Budgets)
	}
}

func TestPlaygroundThatIsRefused(t *testing.T) {
	h := newHall(t)
	gone, goneID := h.make(t, apikey.Create{ProjectID: "alpha"})
	if _, err := h.keys.Revoke(t.Context(), goneID); err != nil {
		t.Fatal(err)
	}
	chat := func(body string, status int, param string) refusal {
		return refusal{http.MethodPost, "/playground/chat", body, status, param}
	}
	as := func(rest string) string { return `{"key_id":"` + h.keyID + `"` + rest + `}` }
	const bad = http.StatusBadRequest
	h.refuses(
		t, chat(`{}`, bad, "key_id"), chat(`{"key_id":7}`, bad, "key_id"), chat(`{"key_id":"key_0","prompt":"x"}`, bad, "key_id"), chat(`{"key_id":"`+h.key+`","prompt":"x"}`, bad, "key_id"),
		chat(`{"key_id":"`+gone+`","prompt":"x"}`, bad, "key_id"), chat(`{"key_id":"`+goneID+`","prompt":"x"}`, bad, "key_id"), chat(`{"key_id":"`+h.adminID+`","prompt":"x"}`, bad, "key_id"),
		chat(as(``), bad, "prompt"), chat(as(`,"prompt":""`), bad, "prompt"), chat(as(`,"prompt":["x"]`), bad, "prompt"), chat(as(`,"prompt":"x","path":"lukewarm"`), bad, "path"),
		chat(as(`,"prompt":"x","max_tokens":0`), bad, "max_tokens"), chat(as(`,"prompt":"x","max_tokens":"many"`), bad, "max_tokens"), chat(as(`,"prompt":"x","tools":[]`), bad, "tools"),
		chat(as(`,"prompt":"x","model":"nothing"`), http.StatusNotFound, "model"),
	)
	work := func(body string, status int, param string) refusal {
		return refusal{http.MethodPost, "/playground/task", body, status, param}
	}
	h.refuses(
		t, work(`{}`, bad, "key_id"), work(as(``), bad, "description"), work(`{"key_id":"`+h.adminID+`","description":"x"}`, bad, "key_id"), work(as(`,"description":"x","stream":true`), bad, "stream"),
		work(as(`,"description":"x","allowed_tools":["Read"]`), bad, "allowed_tools"), work(as(`,"description":"x","timeout":-1`), bad, "timeout"),
		work(as(`,"description":"x","max_cost":100`), http.StatusForbidden, "max_cost"),
	)
	if len(h.backend.calls) != 0 {
		t.Errorf("%d calls were served", len(h.backend.calls))
	}
	// Whoever watches hears also of those that were refused before they were served.
	h.seen.mu.Lock()
	defer h.seen.mu.Unlock()
	if !slices.ContainsFunc(h.seen.entries, func(e gateway.Entry) bool {
		return e.Endpoint == "/admin/v1/playground/chat" && e.Status == bad && e.Refused && e.Caller.KeyID == h.keyID
	}) {
		t.Errorf("heard of %+v", h.seen.entries)
	}
}

// TestChatThatFails tells of a failure inside the stream, where that has begun.
func TestChatThatFails(t *testing.T) {
	h := newHall(t)
	broken := &apierror.Error{Category: apierror.UpstreamError, Message: "the upstream is broken", Cause: io.ErrUnexpectedEOF}
	h.backend.answer = func(context.Context, *gateway.Call, gateway.EventWriter) (gateway.Result, error) {
		return gateway.Result{}, broken
	}
	body := `{"key_id":"` + h.keyID + `","model":"haiku","prompt":"hello"}`
	h.refuses(t, refusal{http.MethodPost, "/playground/chat", body, http.StatusBadGateway, ""})
	h.backend.answer = func(ctx context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
		result, err := says("half")(ctx, call, out)
		if err != nil {
			return result, err
		}
		return gateway.Result{Summary: message.Summary{Usage: message.Usage{OutputTokens: 1}}}, broken
	}
	list := h.play(t, "/playground/chat", body)
	if got := events(list); got != "start token error" {
		t.Fatal(got)
	}
	if told := string(list[2].data); !strings.Contains(told, `"detail":"the upstream is broken"`) || strings.Contains(told, "EOF") {
		t.Errorf("told %s", told)
	}
}

// TestPlaygroundTask has a task done in a key's name.
func TestPlaygroundTask(t *testing.T) {
	h := newHall(t)
	var spec agent.Spec
	h.runner.run = func(_ context.Context, s agent.Spec, handler agent.Handler) (agent.Outcome, error) {
		spec = s
		return agent.Outcome{End: agent.EndCompleted, Text: "all done"}, started(handler)
	}
	list := h.play(t, "/playground/task", `{"key_id":"`+h.keyID+`","description":"tidy up","model":"haiku","approval":"ask","allow_tools":["Read"]}`)
	if got := list[len(list)-1]; got.event != task.EventResult || !strings.Contains(string(got.data), `"result":"all done"`) {
		t.Errorf("%s: %s", events(list), got.data)
	}
	if spec.Caller == nil || spec.Caller.KeyID != h.keyID || !slices.Equal(spec.Tools, []string{"Read"}) || !spec.Ask {
		t.Errorf("it ran as %+v", spec)
	}
	var tasks struct {
		Tasks []taskTold `json:"tasks"`
	}
	if h.get(t, http.MethodGet, "/tasks", "", &tasks); len(tasks.Tasks) != 1 || tasks.Tasks[0].KeyID != h.keyID || tasks.Tasks[0].Status != "completed" {
		t.Errorf("%+v", tasks)
	}
	if got := h.noted(t); !slices.Equal(got, []string{"playground.task " + h.keyID + " haiku"}) {
		t.Errorf("noted %q", got)
	}
}
