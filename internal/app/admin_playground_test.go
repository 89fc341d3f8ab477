package app

import (
	"bufio"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/usage"
)

// played is one event of an answer of the playground.
type played struct {
	Event     string
	RequestID string `json:"request_id"`
	Text      string `json:"text"`
	Usage     struct {
		OutputTokens int64 `json:"output_tokens"`
	} `json:"usage"`
	CostMicroUSD *int64             `json:"cost_micro_usd"`
	Backend      string             `json:"backend"`
	Stages       map[string]float64 `json:"stages"`
	TotalMS      float64            `json:"total_ms"`
	TTFTMS       float64            `json:"ttft_ms"`
	Type         string             `json:"type"`
	Result       string             `json:"result"`
}

// play asks the playground; each hears of every event as it comes.
func play(t *testing.T, a *App, admin, path, body string, each func(e played)) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.URL()+"/admin/v1/playground/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", admin)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body)
		t.Fatalf("%d %s", response.StatusCode, text)
	}
	var e played
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		switch name, value, _ := strings.Cut(lines.Text(), ": "); name {
		case "event":
			e.Event = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				t.Fatalf("%s: %v", value, err)
			}
			if e.Event == "error" {
				t.Errorf("it failed: %s", value)
			}
			each(e)
			e = played{}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

// pids gives the processes of the CLI by what they are doing, and which one serves a
// request.
func pids(t *testing.T, a *App, admin, request string) (all []int, serving int) {
	t.Helper()
	status, text := ask(t, a, http.MethodGet, "/admin/v1/workers", admin, "")
	var list struct {
		Workers []struct {
			PID       int    `json:"pid"`
			RequestID string `json:"request_id"`
		} `json:"workers"`
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s, %v", status, text, err)
	}
	for _, w := range list.Workers {
		all = append(all, w.PID)
		if request != "" && w.RequestID == request {
			serving = w.PID
		}
	}
	return all, serving
}

// TestPlayground has the same prompt answered by a process that waits, by one that is
// started for it, and without the CLI, in a key's name: on the real CLI, whose processes are
// looked at meanwhile. Then the key's budget ends it.
func TestPlayground(t *testing.T) {
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) {
			a, _, _ := working(t, version, func(c *config.Config) { c.MaxWorkers, c.MinWorkers = 2, 1 })
			_, admin, err := makeAdmin(t, a)
			if err != nil {
				t.Fatal(err)
			}
			_, key, err := a.Keys().Create(t.Context(), apikey.Create{ProjectID: "alpha", Profile: apikey.ProfileEnterprise})
			if err != nil {
				t.Fatal(err)
			}
			wantReady(t, a)
			chat := func(path string) string {
				return `{"key_id":"` + key.ID + `","model":"haiku","prompt":"[[interval=100ms]] [[text=one two three four five six seven]]","max_tokens":200,"path":"` + path + `"}`
			}
			took := map[string]played{}
			for _, path := range []string{"warm", "cold", "warm", "direct"} {
				before, _ := pids(t, a, admin, "")
				request, text, serving := "", "", 0
				var during []int
				play(t, a, admin, "chat", chat(path), func(e played) {
					switch e.Event {
					case "start":
						request = e.RequestID
					case "token":
						if text == "" {
							during, serving = pids(t, a, admin, request)
						}
						text += e.Text
					case "done":
						took[path] = e
					}
				})
				done := took[path]
				if text != "one two three four five six seven" || done.CostMicroUSD == nil || done.Usage.OutputTokens == 0 || done.TTFTMS <= 0 || done.TTFTMS >= done.TotalMS {
					t.Errorf("%s: %q, %+v", path, text, done)
				}
				switch path {
				case "warm":
					if done.Backend != "cli" || !slices.Contains(before, serving) {
						t.Errorf("warm: process %d serves it, there were %v", serving, before)
					}
				case "cold":
					if after, _ := pids(t, a, admin, ""); done.Backend != "cli" || serving == 0 || slices.Contains(before, serving) || slices.Contains(after, serving) {
						t.Errorf("cold: process %d serves it, there were %v, and are %v", serving, before, after)
					}
				case "direct":
					if _, queued := done.Stages["bind"]; done.Backend != "direct" || serving != 0 || queued {
						t.Errorf("direct: process %d of %v serves it, %+v", serving, during, done)
					}
				}
			}
			if cold, warm := took["cold"].Stages["bind"], took["warm"].Stages["bind"]; cold < 2*warm {
				t.Errorf("a start took %g ms, and to bind a process that waits %g ms", cold, warm)
			}

			var result played
			play(t, a, admin, "task", `{"key_id":"`+key.ID+`","description":"[[text=tidied up]]","model":"haiku"}`, func(e played) { result = e })
			if result.Event != "result" || result.Result != "tidied up" {
				t.Errorf("the task ended with %+v", result)
			}

			// What was spent there is spent, and no more than the budget is.
			if status, text := ask(t, a, http.MethodPut, "/admin/v1/budgets", admin, `{"owner_kind":"key","owner_id":"`+key.ID+`","period":"day","unit":"usd","hard":1}`); status != http.StatusOK || strings.Contains(text, `"spent":0,`) {
				t.Errorf("%d %s", status, text)
			}
			for _, path := range []string{"warm", "cold", "direct"} {
				if status, text := ask(t, a, http.MethodPost, "/admin/v1/playground/chat", admin, chat(path)); status != http.StatusForbidden || !strings.Contains(text, `"type":"budget_exceeded"`) {
					t.Errorf("%s, with a spent budget: %d %s", path, status, text)
				}
			}
			if status, text := ask(t, a, http.MethodPost, "/admin/v1/playground/task", admin, `{"key_id":"`+key.ID+`","description":"[[text=more]]","model":"haiku"}`); status != http.StatusForbidden || !strings.Contains(text, `"type":"budget_exceeded"`) {
				t.Errorf("a task, with a spent budget: %d %s", status, text)
			}
			status, text := ask(t, a, http.MethodGet, "/admin/v1/audit?action=playground.chat", admin, "")
			if n := strings.Count(text, `"target":"`+key.ID+`"`); status != http.StatusOK || n != 7 {
				t.Errorf("noted %d times: %s", n, text)
			}
			rows := ledger(t, a)
			for i, row := range rows {
				if row.KeyID != key.ID || row.ProjectID != "alpha" {
					t.Errorf("row %d: %+v", i, row)
				}
			}
			if served := slices.DeleteFunc(rows, func(r usage.Row) bool { return r.Endpoint != "/admin/v1/playground/chat" || r.Status != http.StatusOK }); len(served) != 4 {
				t.Errorf("%d chats are in the ledger", len(served))
			}
		})
	}
}

func makeAdmin(t *testing.T, a *App) (id, text string, err error) {
	t.Helper()
	text, key, err := a.Keys().Create(t.Context(), apikey.Create{ProjectID: "house", Admin: true})
	return key.ID, text, err
}

// wantReady waits until the CLI's processes are there.
func wantReady(t *testing.T, a *App) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); a.pool.Status().Idle == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the CLI isn't ready: %+v", a.pool.Status())
		}
	}
}
