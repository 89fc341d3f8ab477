package client_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/client"
	"claude-code-api-service/internal/apikey"
)

// TestDirect calls a service without a CLI.
func TestDirect(t *testing.T) {
	s := newStand(t, "off")
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s *stand)
	}{
		{"process", testProcess},
		{"process as a stream", testProcessStream},
		{"process later", testProcessAsync},
		{"batch", testBatch},
		{"batch later", testBatchAsync},
		{"stream", testStream},
		{"stream, cancelled", testStreamCancel},
		{"stream, refused", testStreamRefused},
		{"once", testOnce},
		{"errors", testErrors},
		{"what there is", testInfo},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, s) })
	}
}

func testProcess(t *testing.T, s *stand) {
	var meta client.Meta
	answer, err := s.Process(within(t), client.ProcessRequest{
		Model: "haiku", System: "be brief", MaxTokens: 50, Timeout: time.Minute,
		Messages: []client.Message{
			{Role: client.RoleUser, Content: "hi"}, {Role: client.RoleAssistant, Content: "hello"},
			{Role: client.RoleUser, Content: []map[string]string{{"type": "text", "text": "name a river"}}},
		},
	}, client.Into(&meta), client.RequestID("req-of-ours"), client.Backend(client.BackendDirect))
	if err != nil {
		t.Fatal(err)
	}
	m := answer.Metadata
	if answer.Content != echo("name a river") || answer.Model != "haiku" || answer.Provider != "claudecode" || m.FinishReason != "stop" ||
		m.ActualModel != "claude-haiku-5-5" || m.Usage.InputTokens == 0 || m.Usage.TotalTokens != m.Usage.InputTokens+m.Usage.OutputTokens || m.CostUSD == nil || *m.CostUSD <= 0 {
		t.Errorf("%+v", answer)
	}
	if meta.Status != http.StatusOK || meta.RequestID != "req-of-ours" || meta.Backend != client.BackendDirect || meta.Stages["auth"] <= 0 || meta.Replayed {
		t.Errorf("%+v", meta)
	}
	answer, err = s.Process(within(t), client.ProcessRequest{Provider: "openai", Model: "gpt-4o-mini", Prompt: "hi", Params: jsontext.Value(`{"seed":1}`)})
	if err != nil {
		t.Fatal(err)
	}
	if answer.Content != echo("hi") || !strings.Contains(answer.Metadata.MappedFrom, "openai:gpt-4o-mini") || len(answer.Metadata.Warnings) != 1 {
		t.Errorf("%+v", answer)
	}
}

func testProcessStream(t *testing.T, s *stand) {
	var meta client.Meta
	text, last, pieces := "", client.ProcessEvent{}, 0
	request := client.ProcessRequest{
		Model: "haiku", Prompt: `a river please [[tool=map input={"river":"Tweed"}]]`,
		Tools: jsontext.Value(`[{"name":"map","input_schema":{"type":"object","properties":{"river":{"type":"string"}}}}]`),
	}
	var tools []string
	for e, err := range s.ProcessStream(within(t), request, client.Into(&meta)) {
		if err != nil {
			t.Fatal(err)
		}
		switch e.Type {
		case client.EventToken:
			text, pieces = text+e.Content, pieces+1
		case client.EventToolUse:
			tools = append(tools, string(e.Block))
		}
		last = e
	}
	if last.Type != client.EventDone || last.Done == nil || last.Done.Content != text || !strings.Contains(string(last.Done.ContentBlocks), "Tweed") {
		t.Errorf("%q, then %+v", text, last)
	}
	if len(tools) != 1 || !strings.Contains(tools[0], `"river":"Tweed"`) {
		t.Errorf("tools: %q", tools)
	}
	if meta.Stages["total"] <= 0 {
		t.Errorf("the trailer isn't read: %+v", meta)
	}

	// Whoever stops reading ends the call, and what comes before the answer's end is an
	// error.
	for e, err := range s.ProcessStream(within(t), client.ProcessRequest{Model: "haiku", Prompt: "[[tokens=50 interval=1s]]"}) {
		if err != nil || e.Type != client.EventToken {
			t.Fatalf("%+v %v", e, err)
		}
		break
	}
	pieces = 0
	var broken error
	for e, err := range s.ProcessStream(within(t), client.ProcessRequest{Model: "haiku", Prompt: "one two three four [[error-after=3]]"}, client.RequestID("cut-1")) {
		if err != nil {
			broken = err
		} else if e.Type == client.EventToken {
			pieces++
		}
	}
	if e := refusal(t, broken, 0, client.CategoryOverloaded); pieces == 0 || e.RequestID != "cut-1" {
		t.Errorf("%d pieces, then %+v", pieces, e)
	}
}

func testProcessAsync(t *testing.T, s *stand) {
	accepted, err := s.ProcessAsync(within(t), client.ProcessRequest{Model: "haiku", Prompt: "later [[delay=100ms]]"})
	if err != nil {
		t.Fatal(err)
	}
	if run, err := s.ProcessResult(within(t), accepted.ID); err != nil || run.ID != accepted.ID || run.CreatedAt.IsZero() || run.Err() != nil {
		t.Errorf("%+v %v", run, err)
	}
	answer, err := s.AwaitProcess(within(t), accepted.ID)
	if err != nil || answer.Content != echo("later") {
		t.Errorf("%+v %v", answer, err)
	}
	if accepted, err = s.ProcessAsync(within(t), client.ProcessRequest{Model: "haiku", Prompt: "[[error=500]]"}); err != nil {
		t.Fatal(err)
	}
	_, err = s.AwaitProcess(within(t), accepted.ID)
	refused(t, err, 0, client.CategoryUpstream)
	_, err = s.ProcessResult(within(t), "proc_none")
	refused(t, err, http.StatusNotFound, "not_found")
}

func testBatch(t *testing.T, s *stand) {
	answer, err := s.Batch(within(t), client.BatchRequest{
		Model: "haiku", Prompts: []client.BatchPrompt{{Prompt: "one", ID: "a"}, {Prompt: "[[error=500]]"}, {Prompt: "three"}}, Timeout: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	checkBatch(t, answer)
}

func checkBatch(t *testing.T, b *client.BatchResponse) {
	t.Helper()
	if b.Total != 3 || b.Completed != 2 || b.Failed != 1 || len(b.Results) != 3 || b.TotalTokens == 0 || b.TotalCost <= 0 {
		t.Fatalf("%+v", b)
	}
	r := b.Results
	if r[0].ID != "a" || r[0].Content != echo("one") || r[0].Status != client.StatusCompleted || r[0].Usage.TotalTokens == 0 || r[0].Cost == nil || r[0].Error != "" {
		t.Errorf("%+v", r[0])
	}
	if r[1].ID != "1" || r[1].Status != client.StatusFailed || r[1].Error == "" || r[1].Cost != nil || r[2].Content != echo("three") {
		t.Errorf("%+v", r[1:])
	}
}

func testBatchAsync(t *testing.T, s *stand) {
	accepted, err := s.BatchAsync(within(t), client.BatchRequest{
		Model: "haiku", Prompts: []client.BatchPrompt{{Prompt: "one", ID: "a"}, {Prompt: "[[error=500]]"}, {Prompt: "three"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	heard := 0
	answer, err := s.AwaitBatch(within(t), accepted.ID, func(b *client.BatchResponse) { heard = len(b.Results) })
	if err != nil || heard != 3 {
		t.Fatalf("%v; %d results were told of", err, heard)
	}
	checkBatch(t, answer)
}

func words(texts ...string) []client.Message {
	var list []client.Message
	for i, text := range texts {
		list = append(list, client.Message{Role: []string{client.RoleUser, client.RoleAssistant}[i%2], Content: text})
	}
	return list
}

func testStream(t *testing.T, s *stand) {
	stream, err := s.Stream(within(t), client.RequestID("socket-1"))
	if err != nil {
		t.Fatal(err)
	}
	for n, prompt := range []string{"first", "second"} {
		text, last := "", client.ChatEvent{}
		for e, err := range stream.Chat(within(t), client.ChatRequest{Model: "haiku", Messages: words(prompt)}) {
			if err != nil {
				t.Fatal(err)
			}
			if last = e; e.Type == client.EventToken {
				text += e.Content
			}
		}
		if text != echo(prompt) || last.Type != client.EventDone || last.Usage.TotalTokens == 0 || last.CostUSD == nil || last.StopReason != "end_turn" ||
			last.Backend != client.BackendDirect || last.RequestID != "socket-1-"+string(rune('1'+n)) {
			t.Errorf("%q, then %+v", text, last)
		}
	}
	var failed error
	for _, err := range stream.Chat(within(t), client.ChatRequest{Model: "no-such-model", Messages: words("x")}) {
		failed = err
	}
	if e := refusal(t, failed, 0, "model_not_found"); e.RequestID == "" {
		t.Errorf("%+v", e)
	}
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
	failed = nil
	for _, err := range stream.Chat(within(t), client.ChatRequest{Messages: words("x")}) {
		failed = err
	}
	if failed == nil {
		t.Error("a closed stream answers")
	}
}

// A chat that is cancelled, by its context or by who reads, leaves the connection to the
// next.
func testStreamCancel(t *testing.T, s *stand) {
	stream, err := s.Stream(within(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	slow := client.ChatRequest{Model: "haiku", Messages: words("[[tokens=50 interval=1s]]")}
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	var last error
	for _, err := range stream.Chat(ctx, slow) {
		cancel()
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("the context ended, and the chat with %v", last)
	}
	for _, err := range stream.Chat(within(t), slow) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	text := ""
	for e, err := range stream.Chat(within(t), client.ChatRequest{Model: "haiku", Messages: words("still here")}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == client.EventToken {
			text += e.Content
		}
	}
	if text != echo("still here") {
		t.Errorf("%q", text)
	}
}

func testStreamRefused(t *testing.T, s *stand) {
	_, err := s.as(t, "cc_"+strings.Repeat("0", 40)).Stream(within(t))
	refused(t, err, http.StatusUnauthorized, "invalid_api_key")
}

func testOnce(t *testing.T, s *stand) {
	request := client.ProcessRequest{Model: "haiku", Prompt: "only once"}
	var first, second client.Meta
	one, err := s.Process(within(t), request, client.IdempotencyKey("order-1"), client.Into(&first))
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.Process(within(t), request, client.IdempotencyKey("order-1"), client.Into(&second))
	if err != nil {
		t.Fatal(err)
	}
	if first.Replayed || !second.Replayed || one.Metadata.ProcessingTime != two.Metadata.ProcessingTime {
		t.Errorf("%+v, then %+v", first, second)
	}
	request.Prompt = "another"
	_, err = s.Process(within(t), request, client.IdempotencyKey("order-1"))
	refused(t, err, http.StatusUnprocessableEntity, "idempotency_mismatch")
}

func testErrors(t *testing.T, s *stand) {
	_, err := s.as(t, "cc_wrong").Process(within(t), client.ProcessRequest{Prompt: "x"})
	if e := refusal(t, err, http.StatusUnauthorized, "invalid_api_key"); e.Category != client.CategoryAuth || e.RequestID == "" {
		t.Errorf("%+v", e)
	}
	_, err = s.Process(within(t), client.ProcessRequest{Prompt: "x", MaxTokens: -1})
	if e := refusal(t, err, http.StatusBadRequest, client.CategoryBadRequest); e.Param != "max_tokens" {
		t.Errorf("%+v", e)
	}
	var meta client.Meta
	err = s.Do(within(t), http.MethodGet, "/v1/none", nil, nil, client.Into(&meta))
	refused(t, err, http.StatusNotFound, "unknown_url")
	if meta.Status != http.StatusNotFound {
		t.Errorf("%+v", meta)
	}
	_, err = s.Admin().Workers(within(t))
	if e := asError[*client.Error](t, err); e.Status != http.StatusForbidden && e.Status != http.StatusNotFound {
		t.Errorf("a caller's key is answered %+v at the admin's", e)
	}
	two := 2
	poor := s.as(t, s.key(t, apikey.Create{RequestsPerMinute: &two}))
	for i := range 3 {
		_, err = poor.Process(within(t), client.ProcessRequest{Model: "haiku", Prompt: "x"})
		if i < 2 && err != nil {
			t.Fatal(err)
		}
	}
	if e := refusal(t, err, http.StatusTooManyRequests, client.CategoryRateLimited); e.RetryAfter <= 0 || e.RetryAfter > time.Minute {
		t.Errorf("%+v", e)
	}
	for prompt := range map[string]bool{"": true, "stream": true} {
		request := client.ProcessRequest{Prompt: prompt, Params: jsontext.Value(`{"top_p":7}`)}
		for _, err := range s.ProcessStream(within(t), request) {
			refused(t, err, http.StatusBadRequest, client.CategoryBadRequest)
		}
	}
}

func testInfo(t *testing.T, s *stand) {
	ctx := within(t)
	anonymous := s.as(t, "")
	if h, err := anonymous.Health(ctx); err != nil || h.Status != client.HealthOK || h.Services["cli"].Status != client.HealthOff || h.Uptime <= 0 || h.Version == "" {
		t.Errorf("%+v %v", h, err)
	}
	if r, err := anonymous.Ready(ctx); err != nil || !r.Ready {
		t.Errorf("%+v %v", r, err)
	}
	if r, err := s.Route(ctx, "list the files", 20_000); err != nil || r.Model != "opus" || r.Reasoning == "" || r.Budget.Status != "unlimited" || r.Budget.Limit != nil {
		t.Errorf("%+v %v", r, err)
	}
	providers, err := s.Providers(ctx)
	if err != nil || len(providers) != 2 || !slices.ContainsFunc(providers, func(p client.Provider) bool {
		return p.Name == "anthropic" && p.Available && p.Backend == client.BackendDirect
	}) {
		t.Errorf("%+v %v", providers, err)
	}
	if models, err := s.ProviderModels(ctx, "anthropic"); err != nil || len(models) == 0 || models[0].ID == "" || models[0].ContextWindow == nil {
		t.Errorf("%+v %v", models, err)
	}
	_, err = s.ProviderModels(ctx, "a/b c")
	refused(t, err, http.StatusNotFound, "not_found")
	if models, err := s.Models(ctx); err != nil || !slices.ContainsFunc(models, func(m client.Model) bool { return m.ID == "claude-haiku-5-5" && !m.CreatedAt.IsZero() }) {
		t.Errorf("%+v %v", models, err)
	}
	if u, err := s.Usage(ctx, client.PeriodDay, client.GroupByKey); err != nil || u.ProjectID != "p" || u.Period != "day" || u.TotalTokens == 0 ||
		u.ByModel["claude-haiku-5-5"].Tokens == 0 || len(u.ByKey) == 0 || u.Limit != nil {
		t.Errorf("%+v %v", u, err)
	}
	_, err = s.Usage(ctx, "decade", "")
	refused(t, err, http.StatusBadRequest, client.CategoryBadRequest)
	if found, err := s.Capabilities(ctx, ""); err != nil || found.Tools == nil {
		t.Errorf("%+v %v", found, err)
	}
}
