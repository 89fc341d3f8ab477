package main

import (
	"encoding/json"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"claude-code-api-service/internal/usage"
)

// stages are those of the answer's header: the first ones are known when a
// stream's header leaves, the others at its end.
var (
	stagesFirst = map[string][]string{
		"cli":    {"auth", "decode", "admit", "queue", "bind", "first_byte"},
		"direct": {"auth", "decode", "admit", "first_byte"},
	}
	stagesLast = []string{"generate", "record", "total"}
)

// checkTiming says what is wrong with a Server-Timing value.
func checkTiming(t *testing.T, where, value string, want []string) {
	t.Helper()
	var got []string
	for part := range strings.SplitSeq(value, ", ") {
		name, duration, _ := strings.Cut(part, ";dur=")
		got = append(got, name)
		if !regexp.MustCompile(`^\d+\.\d{3}$`).MatchString(duration) {
			t.Errorf("%s: Server-Timing %q", where, part)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: Server-Timing has %v, want %v", where, got, want)
	}
}

// tokens are the simulator's: four bytes each.
func tokens(text string) int64 { return int64(len(text)+3) / 4 }

func testAnswers(t *testing.T, s *stand) {
	for _, backend := range []string{"cli", "direct"} {
		t.Run(backend, func(t *testing.T) { testAnswersOn(t, s, backend) })
	}
}

// testAnswersOn asks each endpoint, with use_cli in the body and with the
// header, which wins against the body.
func testAnswersOn(t *testing.T, s *stand, backend string) {
	use, other := `"use_cli":true`, `"use_cli":false`
	if backend == "direct" {
		use, other = other, use
	}
	for _, endpoint := range []struct {
		name, path string
		body       func(prompt string, more ...string) string
		more       []string
		check      func(t *testing.T, backend string, a *answer, prompt string, row usage.Row)
	}{
		{"chat", "/v1/chat/completions", chat, nil, checkChat},
		{"chat stream", "/v1/chat/completions", chat, []string{`"stream":true`, `"stream_options":{"include_usage":true}`}, checkChatStream},
		{"messages", "/v1/messages", messagesBody, nil, checkMessages},
		{"messages stream", "/v1/messages", messagesBody, []string{`"stream":true`}, checkMessagesStream},
		{"process", "/v1/process", processBody, nil, checkProcess},
	} {
		for way, header := range map[string]string{use: "", other: backend} {
			t.Run(endpoint.name+" "+way+" header "+header, func(t *testing.T) {
				id, prompt := s.id(), s.word("Good morning")
				a := s.post(t, endpoint.path, endpoint.body(prompt, append(endpoint.more, way)...),
					"X-Request-ID", id, "X-Claude-Backend", header)
				if a.status != http.StatusOK {
					t.Fatalf("status %d: %s", a.status, a.body)
				}
				if got := a.header.Get("X-Claude-Backend"); got != backend {
					t.Errorf("X-Claude-Backend %q", got)
				}
				if got := a.header.Get("X-Request-ID"); got != id {
					t.Errorf("X-Request-ID %q, want %q", got, id)
				}
				all := slices.Concat(stagesFirst[backend], stagesLast)
				if strings.Contains(endpoint.name, "stream") {
					checkTiming(t, "header", a.header.Get("Server-Timing"), stagesFirst[backend])
					checkTiming(t, "trailer", a.trailer.Get("Server-Timing"), all)
				} else {
					checkTiming(t, "header", a.header.Get("Server-Timing"), all)
				}
				r := row(t, s.db, id)
				if r.Backend != backend || r.Endpoint != endpoint.path || r.Status != 200 || r.ProjectID != "e2e" || r.Category != "" {
					t.Errorf("the ledger has %+v", r)
				}
				if r.CostMicroUSD == nil {
					t.Fatal("the ledger has no cost")
				}
				endpoint.check(t, backend, a, prompt, r)
				body := string(s.upstream.one(t, prompt))
				if strings.Contains(body, "use_cli") {
					t.Error("use_cli reached the upstream")
				}
				if isCLI := strings.HasPrefix(s.upstream.messages(prompt)[0].Header.Get("User-Agent"), "claude-cli/"); isCLI != (backend == "cli") {
					t.Errorf("the upstream's caller was %q", s.upstream.messages(prompt)[0].Header.Get("User-Agent"))
				}
			})
		}
	}
}

// chatUsage are the counts of a chat completion, the API's and the flat ones.
type chatUsage struct {
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
	Total      int64 `json:"total_tokens"`
	Input      int64 `json:"input_tokens"`
	Output     int64 `json:"output_tokens"`
	Details    struct {
		Cached int64 `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

func (u chatUsage) check(t *testing.T, text string, row usage.Row) {
	t.Helper()
	if u.Output != tokens(text) || u.Completion != u.Output || u.Total != u.Prompt+u.Completion || u.Prompt == 0 {
		t.Errorf("usage %+v for %q", u, text)
	}
	if r := row.Usage; u.Output != r.OutputTokens || u.Input != r.InputTokens || u.Details.Cached != r.CacheReadInputTokens || u.Prompt != r.Prompt() {
		t.Errorf("usage %+v, the ledger has %+v", u, r)
	}
}

func checkCost(t *testing.T, usd float64, row usage.Row) {
	t.Helper()
	if micro := int64(math.Round(usd * 1e6)); micro != *row.CostMicroUSD || micro <= 0 {
		t.Errorf("cost %v, the ledger has %d millionths", usd, *row.CostMicroUSD)
	}
}

func checkChat(t *testing.T, _ string, a *answer, prompt string, row usage.Row) {
	got := decode[struct {
		ID, Object, Model, Content string
		Created                    int64
		Choices                    []struct {
			Index        int
			Message      struct{ Role, Content string }
			FinishReason string `json:"finish_reason"`
		}
		Usage     chatUsage
		Cost      float64
		ProjectID string `json:"project_id"`
	}](t, a.body)
	text := "Echo: " + prompt
	if !strings.HasPrefix(got.ID, "chatcmpl-") || got.Object != "chat.completion" || got.Model != "claude-haiku-5-5" || got.Created == 0 {
		t.Errorf("answer %s", a.body)
	}
	if len(got.Choices) != 1 || got.Choices[0].Message.Role != "assistant" || got.Choices[0].Message.Content != text || got.Choices[0].FinishReason != "stop" {
		t.Errorf("choices %+v", got.Choices)
	}
	// The flat fields of the service that this one replaces.
	if got.Content != text || got.ProjectID != "e2e" {
		t.Errorf("content %q, project %q", got.Content, got.ProjectID)
	}
	got.Usage.check(t, text, row)
	checkCost(t, got.Cost, row)
}

func checkChatStream(t *testing.T, _ string, a *answer, prompt string, row usage.Row) {
	if got := a.header.Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") {
		t.Errorf("Content-Type %q", got)
	}
	var text, reason string
	var counts *chatUsage
	var data []string
	deltas := 0
	for line := range strings.Lines(a.body) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "data: "); ok {
			data = append(data, value)
		}
	}
	if data[len(data)-1] != "[DONE]" {
		t.Fatalf("the stream ends with %s", data[len(data)-1])
	}
	for _, value := range data[:len(data)-1] {
		chunk := decode[struct {
			Object  string
			Choices []struct {
				Delta        struct{ Content string }
				FinishReason *string `json:"finish_reason"`
			}
			Usage *chatUsage
		}](t, value)
		if chunk.Object != "chat.completion.chunk" {
			t.Errorf("chunk %s", value)
		}
		if chunk.Usage != nil {
			counts = chunk.Usage
		}
		for _, choice := range chunk.Choices {
			text += choice.Delta.Content
			if choice.Delta.Content != "" {
				deltas++
			}
			if choice.FinishReason != nil {
				reason = *choice.FinishReason
			}
		}
	}
	if text != "Echo: "+prompt || reason != "stop" || deltas < 2 {
		t.Errorf("%d deltas %q, finish_reason %q", deltas, text, reason)
	}
	if counts == nil {
		t.Fatal("no usage")
	}
	counts.check(t, text, row)
}

type messagesUsage struct {
	Input         int64 `json:"input_tokens"`
	Output        int64 `json:"output_tokens"`
	CacheRead     int64 `json:"cache_read_input_tokens"`
	CacheCreation int64 `json:"cache_creation_input_tokens"`
}

func (u messagesUsage) check(t *testing.T, text string, row usage.Row) {
	t.Helper()
	r := row.Usage
	if u.Output != tokens(text) || u != (messagesUsage{r.InputTokens, r.OutputTokens, r.CacheReadInputTokens, r.CacheCreationInputTokens}) {
		t.Errorf("usage %+v for %q, the ledger has %+v", u, text, r)
	}
}

func checkMessages(t *testing.T, _ string, a *answer, prompt string, row usage.Row) {
	got := decode[struct {
		ID, Type, Role, Model string
		Content               []struct{ Type, Text string }
		StopReason            string `json:"stop_reason"`
		Usage                 messagesUsage
	}](t, a.body)
	text := "Echo: " + prompt
	if !strings.HasPrefix(got.ID, "msg_") || got.Type != "message" || got.Role != "assistant" || got.Model != "claude-haiku-5-5" || got.StopReason != "end_turn" {
		t.Errorf("answer %s", a.body)
	}
	if len(got.Content) != 1 || got.Content[0].Type != "text" || got.Content[0].Text != text {
		t.Errorf("content %+v", got.Content)
	}
	if a.header.Get("Request-Id") == "" {
		t.Error("no request-id")
	}
	got.Usage.check(t, text, row)
}

func checkMessagesStream(t *testing.T, _ string, a *answer, prompt string, row usage.Row) {
	var events []string
	var text string
	var counts messagesUsage
	for line := range strings.Lines(a.body) {
		value, ok := strings.CutPrefix(strings.TrimSpace(line), "data: ")
		if !ok {
			continue
		}
		event := decode[struct {
			Type  string
			Delta struct{ Text string }
			Usage json.RawMessage
		}](t, value)
		text += event.Delta.Text
		if n := len(events); event.Type != "ping" && (n == 0 || events[n-1] != event.Type) {
			events = append(events, event.Type)
		}
		if event.Type == "message_delta" {
			counts = decode[messagesUsage](t, string(event.Usage))
		}
	}
	if got := strings.Join(events, " "); got != "message_start content_block_start content_block_delta content_block_stop message_delta message_stop" {
		t.Errorf("events %s", got)
	}
	if text != "Echo: "+prompt {
		t.Errorf("text %q", text)
	}
	counts.check(t, text, row)
}

func checkProcess(t *testing.T, backend string, a *answer, prompt string, row usage.Row) {
	got := decode[struct {
		Content, Model, Provider string
		Metadata                 struct {
			ActualModel string `json:"actual_model"`
			Usage       struct {
				messagesUsage
				Total int64 `json:"total_tokens"`
			}
			Cost         float64 `json:"cost_usd"`
			Time         float64 `json:"processing_time"`
			FinishReason string  `json:"finish_reason"`
			MappedFrom   string  `json:"mapped_from"`
		}
	}](t, a.body)
	text, m := "Echo: "+prompt, got.Metadata
	provider := map[string]string{"cli": "claudecode", "direct": "anthropic"}[backend]
	if got.Content != text || got.Model != "gpt-4" || got.Provider != "openai" || m.ActualModel != "claude-sonnet-5-5" ||
		m.FinishReason != "stop" || m.Time <= 0 || m.MappedFrom != "openai:gpt-4 → "+provider+":sonnet" {
		t.Errorf("answer %s", a.body)
	}
	if m.Usage.Total != m.Usage.Input+m.Usage.Output {
		t.Errorf("usage %+v", m.Usage)
	}
	m.Usage.check(t, text, row)
	checkCost(t, m.Cost, row)
}

func testRequestIDs(t *testing.T, s *stand) {
	made := regexp.MustCompile(`^req_[0-9a-f]{32}$`)
	for name, given := range map[string]string{"none": "", "too long": strings.Repeat("x", 129), "a space": "two words", "quotes": `a"b`} {
		a := s.post(t, "/v1/chat/completions", chat("id"), "X-Request-ID", given, "X-Claude-Backend", "direct")
		if got := a.header.Get("X-Request-ID"); a.status != 200 || !made.MatchString(got) {
			t.Errorf("%s: status %d, X-Request-ID %q", name, a.status, got)
		}
	}
	a := s.get(t, "/v1/nothing")
	if a.status != 404 || !made.MatchString(a.header.Get("X-Request-ID")) {
		t.Errorf("an unknown path: %d %v", a.status, a.header)
	}
}

// older makes a body ask a model that takes temperature and a thinking budget.
func older(body string) string { return strings.Replace(body, `"haiku"`, `"claude-haiku-4-5"`, 1) }

func testWarnings(t *testing.T, s *stand) {
	for _, tt := range []struct {
		name, path, backend, body, want string
	}{
		{"temperature on the CLI", "/v1/chat/completions", "cli", older(chat("w", `"temperature":0.3`, `"stop":"END"`)), "temperature can't be set on the CLI backend; stop_sequences can't be set on the CLI backend"},
		{"temperature on the API", "/v1/chat/completions", "direct", older(chat("w", `"temperature":0.3`)), ""},
		{"what neither can", "/v1/chat/completions", "direct", chat("w", `"seed":1`), "seed: has no effect here"},
		{"messages", "/v1/messages", "cli", messagesBody("w", `"top_k":3`), "top_k can't be set on the CLI backend"},
		{"process", "/v1/process", "cli", strings.Replace(processBody("w", `"temperature":0.3`), "gpt-4", "claude-haiku-4-5", 1), "temperature can't be set on the CLI backend"},
		{"nothing", "/v1/messages", "cli", messagesBody("w"), ""},
	} {
		a := s.post(t, tt.path, tt.body, "X-Claude-Backend", tt.backend)
		if got := a.header.Get("X-Claude-Warnings"); a.status != 200 || got != tt.want {
			t.Errorf("%s: status %d, X-Claude-Warnings %q, want %q", tt.name, a.status, got, tt.want)
		}
		if tt.name == "process" && !strings.Contains(a.body, `"warnings":["`+tt.want+`"]`) {
			t.Errorf("metadata has no warnings: %s", a.body)
		}
	}
}

func testModels(t *testing.T, s *stand) {
	list := decode[struct {
		Object string
		Data   []struct {
			ID, Object, Type string
			OwnedBy          string `json:"owned_by"`
			DisplayName      string `json:"display_name"`
			CreatedAt        string `json:"created_at"`
		}
		HasMore bool   `json:"has_more"`
		FirstID string `json:"first_id"`
	}](t, s.get(t, "/v1/models?limit=1000").body)
	if list.Object != "list" || list.HasMore || len(list.Data) == 0 || list.FirstID != list.Data[0].ID {
		t.Fatalf("models %+v", list)
	}
	var ids []string
	for _, m := range list.Data {
		ids = append(ids, m.ID)
		if m.Object != "model" || m.Type != "model" || m.OwnedBy == "" || m.DisplayName == "" || m.CreatedAt == "" {
			t.Errorf("model %+v", m)
		}
	}
	for _, want := range []string{"haiku", "sonnet", "opus", "claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5"} {
		if !slices.Contains(ids, want) {
			t.Errorf("no %s in %v", want, ids)
		}
	}
	if one := s.get(t, "/v1/models/sonnet"); one.status != 200 || !strings.Contains(one.body, `"id":"sonnet"`) {
		t.Errorf("one model: %d %s", one.status, one.body)
	}
	if none := s.get(t, "/v1/models/gpt-9"); none.status != 404 || !strings.Contains(none.body, "model_not_found") {
		t.Errorf("no model: %d %s", none.status, none.body)
	}
	mapped := s.post(t, "/v1/chat/completions", strings.Replace(chat("mapped"), `"haiku"`, `"house"`, 1), "X-Claude-Backend", "direct")
	if mapped.status != 200 || !strings.Contains(mapped.body, "claude-haiku-5-5") {
		t.Errorf("a name of the configured map: %d %s", mapped.status, mapped.body)
	}
}

// testMetrics asks for the names that dashboards hold on to.
func testMetrics(t *testing.T, s *stand) {
	body := s.get(t, "/metrics").body
	for backend, first := range stagesFirst {
		for _, stage := range slices.Concat(first, stagesLast) {
			series := `claude_api_stage_duration_seconds_bucket{backend="` + backend + `",stage="` + stage + `",le="+Inf"}`
			if s.metric(t, series) == 0 {
				t.Errorf("%s is empty", series)
			}
		}
		for _, endpoint := range []string{"/v1/chat/completions", "/v1/messages", "/v1/process"} {
			if series := `claude_api_requests_total{backend="` + backend + `",endpoint="` + endpoint + `",status="200"}`; s.metric(t, series) == 0 {
				t.Errorf("%s is empty", series)
			}
		}
	}
	for _, name := range []string{
		"gen_ai_server_request_duration_seconds", "gen_ai_server_time_to_first_token_seconds", "claude_api_tokens_total",
		"claude_api_cost_micro_usd_total", "claude_api_cli_workers", "claude_api_cli_queue_length", "claude_api_build_info",
	} {
		if !strings.Contains(body, "# TYPE "+name+" ") {
			t.Errorf("no %s", name)
		}
	}
}
