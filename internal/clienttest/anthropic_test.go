package clienttest_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
)

// anthropicClient is the official client for Go.
func (s *stand) anthropicClient(backend, key string, retries int) anthropic.Client {
	return anthropic.NewClient(option.WithBaseURL(s.app.URL()), option.WithAPIKey(key), option.WithHTTPClient(s.client),
		option.WithHeader("X-Claude-Backend", backend), option.WithMaxRetries(retries))
}

func anthropicWeather() []anthropic.ToolUnionParam {
	schema := weatherSchema()
	tool := anthropic.ToolUnionParamOfTool(anthropic.ToolInputSchemaParam{Properties: schema["properties"], Required: []string{"city"}}, "weather")
	return []anthropic.ToolUnionParam{tool}
}

// say makes the parameters of a message with the given blocks.
func say(blocks ...anthropic.ContentBlockParamUnion) anthropic.MessageNewParams {
	return anthropic.MessageNewParams{Model: model, MaxTokens: 4000, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(blocks...)}}
}

func sayText(text string) anthropic.MessageNewParams { return say(anthropic.NewTextBlock(text)) }

// text gives an answer's text.
func text(m *anthropic.Message) string {
	var b strings.Builder
	for _, block := range m.Content {
		b.WriteString(block.Text)
	}
	return b.String()
}

// uses gives an answer's calls of tools.
func uses(m *anthropic.Message) (list []anthropic.ToolUseBlock) {
	for _, block := range m.Content {
		if block.Type == "tool_use" {
			list = append(list, block.AsToolUse())
		}
	}
	return list
}

// weatherTool is the tool as the client's own loop runs it.
type weatherTool struct{ result string }

func (w weatherTool) Name() string        { return "weather" }
func (w weatherTool) Description() string { return "The weather in a city." }
func (w weatherTool) InputSchema() anthropic.BetaToolInputSchemaParam {
	return anthropic.BetaToolInputSchemaParam{Properties: weatherSchema()["properties"], Required: []string{"city"}}
}

func (w weatherTool) Execute(_ context.Context, input json.RawMessage) ([]anthropic.BetaToolResultBlockParamContentUnion, error) {
	var in struct{ City string }
	if err := json.Unmarshal(input, &in); err != nil {
		return nil, err
	}
	return []anthropic.BetaToolResultBlockParamContentUnion{{OfText: &anthropic.BetaTextBlockParam{Text: in.City + " " + w.result}}}, nil
}

func (s *stand) anthropicChecks(backend string) checks {
	client := s.anthropicClient(backend, s.key, 0)
	send := func(t *testing.T, params anthropic.MessageNewParams) *anthropic.Message {
		t.Helper()
		got, err := client.Messages.New(within(t), params)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	refused := func(t *testing.T, params anthropic.MessageNewParams) *anthropic.Error {
		t.Helper()
		_, err := client.Messages.New(within(t), params)
		return asError[*anthropic.Error](t, err)
	}
	// stream reads one with the client's own accumulator, and the deltas that pick
	// finds.
	stream := func(t *testing.T, params anthropic.MessageNewParams, pick func(anthropic.RawContentBlockDeltaUnion) string) (*anthropic.Message, []string) {
		t.Helper()
		events := client.Messages.NewStreaming(within(t), params)
		defer func() { _ = events.Close() }()
		var sum anthropic.Message
		var deltas []string
		for events.Next() {
			event := events.Current()
			if err := sum.Accumulate(event); err != nil {
				t.Fatalf("the client can't add %s: %v", event.RawJSON(), err)
			}
			if event.Type == "content_block_delta" {
				if delta := pick(event.AsContentBlockDelta().Delta); delta != "" {
					deltas = append(deltas, delta)
				}
			}
		}
		if err := events.Err(); err != nil {
			t.Fatal(err)
		}
		return &sum, deltas
	}
	texts := func(d anthropic.RawContentBlockDeltaUnion) string { return d.Text }
	return checks{
		"plain": func(t *testing.T) {
			prompt := s.word("plain")
			got := send(t, sayText(prompt))
			check(t, "text", text(got), echo(prompt))
			check(t, "stop_reason", got.StopReason, anthropic.StopReasonEndTurn)
			check(t, "model", got.Model, model)
			s.upstream.servedBy(t, backend, prompt)
		},
		"stream": func(t *testing.T) {
			prompt := s.word("stream")
			sum, deltas := stream(t, sayText(prompt), texts)
			checkDeltas(t, deltas, echo(prompt))
			check(t, "stop_reason", sum.StopReason, anthropic.StopReasonEndTurn)
		},
		"history": func(t *testing.T) {
			system, one, two, prompt := s.word("rules"), s.word("one"), s.word("two"), s.word("three")
			params := sayText(one)
			params.System = []anthropic.TextBlockParam{{Text: system}}
			params.Messages = append(params.Messages, anthropic.NewAssistantMessage(anthropic.NewTextBlock(two)), anthropic.NewUserMessage(anthropic.NewTextBlock(prompt)))
			check(t, "text", text(send(t, params)), echo(prompt))
			body := s.upstream.one(t, prompt)
			hasInOrder(t, body, one, two, prompt)
			hasInOrder(t, body, system)
		},
		"tools": func(t *testing.T) {
			result := s.word("degrees")
			params := sayText(s.word("tools") + callTool("Paris"))
			params.Tools = anthropicWeather()
			first := send(t, params)
			calls := uses(first)
			if len(calls) != 1 || calls[0].Name != "weather" || string(calls[0].Input) != `{"city":"Paris"}` {
				t.Fatalf("answered %s", first.RawJSON())
			}
			check(t, "stop_reason", first.StopReason, anthropic.StopReasonToolUse)
			params.Messages = append(params.Messages, first.ToParam(), anthropic.NewUserMessage(anthropic.NewToolResultBlock(calls[0].ID, result, false)))
			check(t, "text", text(send(t, params)), "Tool result: "+result)
		},
		"tool loop": func(t *testing.T) {
			result := s.word("sunny")
			runner := client.Beta.Messages.NewToolRunner([]anthropic.BetaTool{weatherTool{result}}, anthropic.BetaToolRunnerParams{
				BetaMessageNewParams: anthropic.BetaMessageNewParams{
					Model: model, MaxTokens: 4000,
					Messages: []anthropic.BetaMessageParam{anthropic.NewBetaUserMessage(anthropic.NewBetaTextBlock(s.word("loop") + callTool("Paris")))},
				},
			})
			got, err := runner.RunToCompletion(within(t))
			if err != nil {
				t.Fatal(err)
			}
			check(t, "text", got.Content[len(got.Content)-1].Text, "Tool result: Paris "+result)
		},
		"parallel tools": func(t *testing.T) {
			params := sayText(s.word("parallel") + callTool("Paris") + callTool("Rome"))
			params.Tools = anthropicWeather()
			first := send(t, params)
			calls := uses(first)
			if len(calls) != 2 {
				t.Fatalf("answered %s", first.RawJSON())
			}
			one, two := s.word("one"), s.word("two")
			params.Messages = append(params.Messages, first.ToParam(),
				anthropic.NewUserMessage(anthropic.NewToolResultBlock(calls[0].ID, one, false), anthropic.NewToolResultBlock(calls[1].ID, two, false)))
			check(t, "text", text(send(t, params)), "Tool result: "+one+"; "+two)
		},
		"tool stream": func(t *testing.T) {
			params := sayText(s.word("tools") + callTool(longCity))
			params.Tools = anthropicWeather()
			sum, deltas := stream(t, params, func(d anthropic.RawContentBlockDeltaUnion) string { return d.PartialJSON })
			checkDeltas(t, deltas, `{"city":"`+longCity+`"}`)
			check(t, "stop_reason", sum.StopReason, anthropic.StopReasonToolUse)
			check(t, "calls", len(uses(sum)), 1)
		},
		"tool choice": func(t *testing.T) {
			for _, choice := range []anthropic.ToolChoiceUnionParam{{OfAny: &anthropic.ToolChoiceAnyParam{}}, anthropic.ToolChoiceParamOfTool("weather")} {
				params := sayText(s.word("choice"))
				params.Tools, params.ToolChoice = anthropicWeather(), choice
				if got := send(t, params); len(uses(got)) != 1 {
					t.Errorf("answered %s", got.RawJSON())
				}
			}
			prompt := s.word("none")
			params := sayText(prompt)
			params.Tools, params.ToolChoice = anthropicWeather(), anthropic.ToolChoiceUnionParam{OfNone: &anthropic.ToolChoiceNoneParam{}}
			check(t, "text", text(send(t, params)), echo(prompt))
		},
		"structured output": func(t *testing.T) {
			params := sayText(s.word("structured"))
			params.OutputConfig.Format = anthropic.JSONOutputFormatParam{Schema: citySchema()}
			check(t, "text", text(send(t, params)), cityAnswer)
		},
		"image": func(t *testing.T) {
			prompt := s.word("image")
			got := send(t, say(anthropic.NewImageBlockBase64("image/png", pixel), anthropic.NewTextBlock(prompt)))
			check(t, "text", text(got), echo(prompt))
			hasInOrder(t, s.upstream.one(t, prompt), pixel)
		},
		"image by URL": func(t *testing.T) {
			prompt := s.word("picture")
			got := send(t, say(anthropic.NewImageBlock(anthropic.URLImageSourceParam{URL: picture}), anthropic.NewTextBlock(prompt)))
			check(t, "text", text(got), echo(prompt))
			hasInOrder(t, s.upstream.one(t, prompt), picture)
		},
		"document": func(t *testing.T) {
			prompt := s.word("document")
			got := send(t, say(anthropic.NewDocumentBlock(anthropic.Base64PDFSourceParam{Data: page64}), anthropic.NewTextBlock(prompt)))
			check(t, "text", text(got), echo(prompt))
			hasInOrder(t, s.upstream.one(t, prompt), page64)
		},
		"citations": func(t *testing.T) {
			const fact = "The grass is green. The sky is blue."
			got := send(t, say(anthropic.ContentBlockParamUnion{OfDocument: &anthropic.DocumentBlockParam{
				Source:    anthropic.DocumentBlockParamSourceUnion{OfText: &anthropic.PlainTextSourceParam{Data: fact}},
				Citations: anthropic.CitationsConfigParam{Enabled: anthropic.Bool(true)},
			}}, anthropic.NewTextBlock(s.word("cite"))))
			if cited := got.Content[0].Citations; len(cited) != 1 || !strings.HasPrefix(fact, cited[0].CitedText) {
				t.Errorf("answered %s", got.RawJSON())
			}
		},
		"web search": func(t *testing.T) {
			params := sayText(s.word("search") + ` [[tool=web_search input={"query":"cats"}]]`)
			params.Tools = []anthropic.ToolUnionParam{{OfWebSearchTool20250305: &anthropic.WebSearchTool20250305Param{}}}
			if backend == "cli" {
				failure := refused(t, params)
				check(t, "type", failure.Type(), anthropic.ErrorTypeInvalidRequestError)
				if !strings.Contains(failure.Error(), "runs at the API") {
					t.Errorf("refused with %v", failure)
				}
				return
			}
			got := send(t, params)
			if len(got.Content) != 3 || got.Content[0].Type != "server_tool_use" || got.Content[1].Type != "web_search_tool_result" {
				t.Errorf("answered %s", got.RawJSON())
			}
		},
		"thinking": func(t *testing.T) {
			prompt := s.word("thinking")
			params := sayText(prompt)
			params.Thinking.OfAdaptive = &anthropic.ThinkingConfigAdaptiveParam{Display: anthropic.ThinkingConfigAdaptiveDisplaySummarized}
			got := send(t, params)
			if got.Content[0].Thinking == "" || got.Content[0].Signature == "" {
				t.Errorf("answered %s", got.RawJSON())
			}
			check(t, "text", text(got), echo(prompt))
			sum, deltas := stream(t, params, func(d anthropic.RawContentBlockDeltaUnion) string { return d.Thinking })
			checkDeltas(t, deltas, sum.Content[0].Thinking)
		},
		"caching": func(t *testing.T) {
			rules := strings.Repeat(s.word("rules")+" ", 200)
			cached := func() *anthropic.Message {
				params := sayText(s.word("cached"))
				params.System = []anthropic.TextBlockParam{{Text: rules, CacheControl: anthropic.NewCacheControlEphemeralParam()}}
				return send(t, params)
			}
			first, second := cached(), cached()
			if first.Usage.CacheCreationInputTokens == 0 || second.Usage.CacheReadInputTokens == 0 {
				t.Errorf("usage %s, then %s", first.Usage.RawJSON(), second.Usage.RawJSON())
			}
		},
		"usage": func(t *testing.T) {
			prompt := s.word("usage")
			u := send(t, sayText(prompt)).Usage
			check(t, "output_tokens", u.OutputTokens, tokens(echo(prompt)))
			if u.InputTokens+u.CacheCreationInputTokens+u.CacheReadInputTokens == 0 {
				t.Errorf("usage %s", u.RawJSON())
			}
			again := s.word("streamed")
			sum, _ := stream(t, sayText(again), texts)
			check(t, "streamed output_tokens", sum.Usage.OutputTokens, tokens(echo(again)))
		},
		"bad key": func(t *testing.T) {
			bad := s.anthropicClient(backend, "cc_wrong", 0)
			_, err := bad.Messages.New(within(t), sayText("x"))
			failure := asError[*anthropic.Error](t, err)
			check(t, "status", failure.StatusCode, http.StatusUnauthorized)
			check(t, "type", failure.Type(), anthropic.ErrorTypeAuthenticationError)
		},
		"unknown model": func(t *testing.T) {
			params := sayText("x")
			params.Model = "gpt-9"
			failure := refused(t, params)
			check(t, "status", failure.StatusCode, http.StatusNotFound)
			check(t, "type", failure.Type(), anthropic.ErrorTypeNotFoundError)
			if !strings.HasPrefix(failure.RequestID, "req_") {
				t.Errorf("request id %q", failure.RequestID)
			}
		},
		"invalid request": func(t *testing.T) {
			params := sayText("x")
			params.MaxTokens = -1
			failure := refused(t, params)
			check(t, "status", failure.StatusCode, http.StatusBadRequest)
			check(t, "type", failure.Type(), anthropic.ErrorTypeInvalidRequestError)
		},
		"rate limit": func(t *testing.T) {
			key, err := s.spentKey(within(t))
			if err != nil {
				t.Fatal(err)
			}
			prompt := s.word("limit")
			once := s.anthropicClient(backend, key, 0)
			_, err = once.Messages.New(within(t), sayText(prompt))
			failure := asError[*anthropic.Error](t, err)
			check(t, "status", failure.StatusCode, http.StatusTooManyRequests)
			checkRetryAfter(t, failure.Response.Header)
			// Only a client that waits as long as it is told gets through with one more try.
			again := s.anthropicClient(backend, key, 1)
			got, err := again.Messages.New(within(t), sayText(prompt))
			if err != nil {
				t.Fatal(err)
			}
			check(t, "text", text(got), echo(prompt))
		},
		"upstream error": func(t *testing.T) {
			failure := refused(t, sayText(s.word("fails")+" [[error=500]]"))
			check(t, "type", failure.Type(), anthropic.ErrorTypeAPIError)
		},
		"error in a stream": func(t *testing.T) {
			events := client.Messages.NewStreaming(within(t), sayText(s.word("breaks")+" [[tokens=20 error-after=3]]"))
			defer func() { _ = events.Close() }()
			n := 0
			for events.Next() {
				n++
			}
			if events.Err() == nil || n == 0 {
				t.Errorf("%d events, error %v", n, events.Err())
			}
		},
		"cancel": func(t *testing.T) {
			prompt := s.word("cancel")
			ctx, leave := context.WithCancel(within(t))
			defer leave()
			events := client.Messages.NewStreaming(ctx, sayText(prompt+" [[tokens=50 hang-after=3]]"))
			defer func() { _ = events.Close() }()
			for events.Next() {
				if events.Current().Type == "content_block_delta" {
					leave()
				}
			}
			if err := s.upstream.left(within(t), prompt); err != nil {
				t.Error(err)
			}
		},
		"models": func(t *testing.T) {
			pager := client.Models.ListAutoPaging(within(t), anthropic.ModelListParams{Limit: anthropic.Int(4)})
			found := 0
			for pager.Next() {
				if id := pager.Current().ID; id == alias || id == model {
					found++
				}
			}
			if pager.Err() != nil || found != 2 {
				t.Errorf("found %d, %v", found, pager.Err())
			}
		},
		"count tokens": func(t *testing.T) {
			prompt := s.word("count")
			got, err := client.Messages.CountTokens(within(t), anthropic.MessageCountTokensParams{
				Model: model, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(prompt))},
			})
			if err != nil {
				t.Fatal(err)
			}
			if got.InputTokens < tokens(prompt) {
				t.Errorf("%d tokens", got.InputTokens)
			}
		},
	}
}
