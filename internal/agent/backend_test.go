package agent_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
)

// taken is an EventWriter that keeps an answer.
type taken struct {
	events  []string
	texts   []string // of the deltas, by block
	summary message.Summary
	whole   []byte
}

func (w *taken) Event(e message.Event) error {
	w.events = append(w.events, e.Type)
	var d struct {
		Index int `json:"index"`
		Delta struct {
			Text     string `json:"text"`
			Thinking string `json:"thinking"`
		} `json:"delta"`
	}
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return err
	}
	if e.Type == message.EventContentBlockDelta {
		for len(w.texts) <= d.Index {
			w.texts = append(w.texts, "")
		}
		w.texts[d.Index] += d.Delta.Text + d.Delta.Thinking
	}
	return w.summary.Observe(e)
}
func (w *taken) Flush() error              { return nil }
func (w *taken) Message(body []byte) error { w.whole = body; return nil }
func (w *taken) End(gateway.Result) error  { return nil }

func callOf(t *testing.T, body string, work *gateway.Work) *gateway.Call {
	t.Helper()
	request, err := message.ParseRequest([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return &gateway.Call{
		RequestID: "req.1", Endpoint: "/v1/chat/completions", Request: request, Backend: gateway.BackendCLI, Model: testModel,
		Caller: &gateway.Caller{KeyID: "key_1", ProjectID: "alpha", Permissions: everything}, Clock: latency.Start(), Work: work, Metered: true,
	}
}

// TestBackend answers a conversation by a run that reads a file, streamed and not, and
// leaves nothing behind.
func TestBackend(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version string) {
		s := newService(t, version, nil, nil)
		b := agent.NewBackend(s.Runner, nil)
		folder := t.TempDir()
		write(t, folder, map[string]string{"facts": "the word is marmalade\n"})
		read := steps("[[text=I look]] "+call("Read", map[string]any{"file_path": filepath.Join(folder, "facts")}), "[[text=It is marmalade]]")
		body := func(stream string) string {
			return `{"model":"haiku","max_tokens":50,"temperature":1,"stream":` + stream + `,"system":"You like cats","messages":[` +
				`{"role":"user","content":"my name is Quill"},{"role":"assistant","content":"noted"},{"role":"user","content":` + string(quote(read)) + `}]}`
		}
		for _, stream := range []string{"true", "false"} {
			s.upstream.Reset()
			c, out := callOf(t, body(stream), &gateway.Work{Tools: []string{"Read", "Nonsense"}, Directory: folder}), &taken{}
			result, err := b.Generate(t.Context(), c, out)
			if err != nil {
				t.Fatal(err)
			}
			if result.CostMicroUSD == nil || *result.CostMicroUSD == 0 || result.Usage.OutputTokens == 0 || result.StopReason != message.StopEndTurn || result.Model != testModel {
				t.Errorf("%+v", result)
			}
			got := strings.Join(out.texts, "|")
			if stream == "false" {
				var m message.Message
				if err := json.Unmarshal(out.whole, &m); err != nil || m.StopReason != message.StopEndTurn || m.Usage != result.Usage || m.Role != "assistant" {
					t.Errorf("%s, %v", out.whole, err)
				}
				var texts []string
				for _, raw := range m.Content {
					var text struct {
						Text string `json:"text"`
					}
					if err := json.Unmarshal(raw, &text); err != nil {
						t.Error(err)
					}
					texts = append(texts, text.Text)
				}
				got = strings.Join(texts, "|")
			} else if out.summary.Usage != result.Usage || out.summary.StopReason != message.StopEndTurn || out.events[0] != message.EventMessageStart ||
				out.events[len(out.events)-1] != message.EventMessageStop {
				t.Errorf("%v, %+v, %+v", out.events, out.summary, result)
			}
			if !strings.HasSuffix(got, "\n\nIt is marmalade") {
				t.Errorf("stream %s: the answer is %q", stream, got)
			}
			seen := ""
			for _, body := range s.upstream.Bodies() {
				seen += string(body)
			}
			for _, words := range []string{"my name is Quill", "noted", "You like cats", "the word is marmalade"} {
				if !strings.Contains(seen, words) {
					t.Errorf("the upstream didn't get %q", words)
				}
			}
			if got := strings.Join(c.Warnings, "; "); !strings.Contains(got, "temperature") || !strings.Contains(got, "max_tokens") || !strings.Contains(got, `: "Nonsense"`) {
				t.Errorf("warned of %s", got)
			}
		}
		left, err := filepath.Glob(filepath.Join(s.folder, "key_1", "*", "*", "*"))
		if err != nil || len(left) != 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
}

// TestBackendRefuses what would change the answer's form, and what takes too long.
func TestBackendRefuses(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version string) {
		s := newService(t, version, nil, nil)
		b := agent.NewBackend(s.Runner, nil)
		for _, test := range []struct {
			name, body string
			work       gateway.Work
			strict     bool
			category   apierror.Category
		}{
			{"tools of the client's own", `{"model":"haiku","tools":[{"name":"w","input_schema":{"type":"object"}}],"messages":[{"role":"user","content":"hi"}]}`, gateway.Work{}, false, apierror.BadRequest},
			{"a form", `{"model":"haiku","output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}},"messages":[{"role":"user","content":"hi"}]}`, gateway.Work{}, false, apierror.BadRequest},
			{"what can't be set, of a strict call", `{"model":"haiku","temperature":1,"messages":[{"role":"user","content":"hi"}]}`, gateway.Work{}, true, apierror.BadRequest},
			{"no prompt", `{"model":"haiku","messages":[{"role":"user","content":" "}]}`, gateway.Work{}, false, apierror.BadRequest},
			{"too long", `{"model":"haiku","messages":[{"role":"user","content":"[[hang]]"}]}`, gateway.Work{Timeout: 2 * time.Second}, false, apierror.Timeout},
		} {
			t.Run(test.name, func(t *testing.T) {
				c := callOf(t, test.body, &test.work)
				c.Strict = test.strict
				_, err := b.Generate(t.Context(), c, &taken{})
				if e := apierror.From(err); e == nil || e.Category != test.category {
					t.Errorf("err = %v", err)
				}
			})
		}
	})
}

// TestBackendTellsWhyALimitEndedIt: the CLI itself knows no more than a status.
func TestBackendTellsWhyALimitEndedIt(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version string) {
		s := newService(t, version, nil, nil)
		b := agent.NewBackend(s.Runner, nil)
		for _, test := range []struct {
			name, model string
			change      func(c *gateway.Caller)
			category    apierror.Category
			words       string
		}{
			{"a budget of the key's", testModel, func(c *gateway.Caller) {
				c.Budgets = []budget.Limit{{Owner: budget.Owner{Kind: budget.Key, ID: c.KeyID}, Period: budget.Day, Unit: budget.Tokens, Hard: 100}}
			}, apierror.BudgetExceeded, "the key's budget"},
			{"what it may cost", testModel, func(c *gateway.Caller) { c.Permissions.MaxCostMicroUSD = 1 }, apierror.BudgetExceeded, "the key's profile"},
			{"a price that isn't known", "claude-new-9", func(c *gateway.Caller) { c.Permissions.MaxCostMicroUSD = 1_000_000 }, apierror.Permission, "the price of claude-new-9"},
		} {
			t.Run(test.name, func(t *testing.T) {
				c := callOf(t, `{"model":"haiku","messages":[{"role":"user","content":"hello"}]}`, &gateway.Work{})
				c.Model = test.model
				test.change(c.Caller)
				result, err := b.Generate(t.Context(), c, &taken{})
				if e := apierror.From(err); e == nil || e.Category != test.category || !strings.Contains(e.Message, test.words) || *result.CostMicroUSD != 0 {
					t.Errorf("%+v, err = %v", result, err)
				}
			})
		}
	})
}
