package clienttest_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/shared"
)

// openAIClient is the official client for Go.
func (s *stand) openAIClient(backend, key string, retries int) openai.Client {
	return openai.NewClient(option.WithBaseURL(s.app.URL()+"/v1"), option.WithAPIKey(key), option.WithHTTPClient(s.client),
		option.WithHeader("X-Claude-Backend", backend), option.WithMaxRetries(retries))
}

func openAIWeather() []openai.ChatCompletionToolUnionParam {
	return []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
		Name: "weather", Description: openai.String("The weather in a city."), Parameters: weatherSchema(),
	})}
}

// ask makes the parameters of a chat.
func ask(messages ...openai.ChatCompletionMessageParamUnion) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{Model: alias, Messages: messages}
}

func (s *stand) openAIChecks(backend string) checks {
	client := s.openAIClient(backend, s.key, 0)
	chat := func(t *testing.T, params openai.ChatCompletionNewParams) openai.ChatCompletionMessage {
		t.Helper()
		got, err := client.Chat.Completions.New(within(t), params)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Choices) != 1 {
			t.Fatalf("answered %s", got.RawJSON())
		}
		return got.Choices[0].Message
	}
	refused := func(t *testing.T, params openai.ChatCompletionNewParams) *openai.Error {
		t.Helper()
		_, err := client.Chat.Completions.New(within(t), params)
		return asError[*openai.Error](t, err)
	}
	list := checks{
		"plain": func(t *testing.T) {
			prompt := s.word("plain")
			got, err := client.Chat.Completions.New(within(t), ask(openai.UserMessage(prompt)))
			if err != nil {
				t.Fatal(err)
			}
			check(t, "content", got.Choices[0].Message.Content, echo(prompt))
			check(t, "finish_reason", got.Choices[0].FinishReason, "stop")
			check(t, "model", got.Model, model)
			s.upstream.servedBy(t, backend, prompt)
		},
		"history": func(t *testing.T) {
			system, one, two, prompt := s.word("rules"), s.word("one"), s.word("two"), s.word("three")
			got := chat(t, ask(openai.SystemMessage(system), openai.UserMessage(one), openai.AssistantMessage(two), openai.UserMessage(prompt)))
			check(t, "content", got.Content, echo(prompt))
			body := s.upstream.one(t, prompt)
			hasInOrder(t, body, one, two, prompt)
			hasInOrder(t, body, system)
		},
		"tools": func(t *testing.T) {
			prompt, result := s.word("tools")+callTool("Paris"), s.word("degrees")
			params := ask(openai.UserMessage(prompt))
			params.Tools = openAIWeather()
			first := chat(t, params)
			if len(first.ToolCalls) != 1 {
				t.Fatalf("answered %s", first.RawJSON())
			}
			check(t, "name", first.ToolCalls[0].Function.Name, "weather")
			check(t, "arguments", first.ToolCalls[0].Function.Arguments, `{"city":"Paris"}`)
			params.Messages = append(params.Messages, first.ToParam(), openai.ToolMessage(result, first.ToolCalls[0].ID))
			check(t, "content", chat(t, params).Content, "Tool result: "+result)
		},
		"parallel tools": func(t *testing.T) {
			params := ask(openai.UserMessage(s.word("parallel") + callTool("Paris") + callTool("Rome")))
			params.Tools = openAIWeather()
			first := chat(t, params)
			if len(first.ToolCalls) != 2 {
				t.Fatalf("answered %s", first.RawJSON())
			}
			one, two := s.word("one"), s.word("two")
			params.Messages = append(params.Messages, first.ToParam(), openai.ToolMessage(one, first.ToolCalls[0].ID), openai.ToolMessage(two, first.ToolCalls[1].ID))
			check(t, "content", chat(t, params).Content, "Tool result: "+one+"; "+two)
		},
		"tool choice": func(t *testing.T) {
			for _, choice := range []openai.ChatCompletionToolChoiceOptionUnionParam{
				{OfAuto: openai.String("required")},
				openai.ToolChoiceOptionFunctionToolChoice(openai.ChatCompletionNamedToolChoiceFunctionParam{Name: "weather"}),
			} {
				params := ask(openai.UserMessage(s.word("choice")))
				params.Tools, params.ToolChoice = openAIWeather(), choice
				if got := chat(t, params); len(got.ToolCalls) != 1 {
					t.Errorf("answered %s", got.RawJSON())
				}
			}
			prompt := s.word("none")
			params := ask(openai.UserMessage(prompt))
			params.Tools, params.ToolChoice = openAIWeather(), openai.ChatCompletionToolChoiceOptionUnionParam{OfAuto: openai.String("none")}
			check(t, "content", chat(t, params).Content, echo(prompt))
		},
		"structured output": func(t *testing.T) {
			params := ask(openai.UserMessage(s.word("structured")))
			params.ResponseFormat.OfJSONSchema = &shared.ResponseFormatJSONSchemaParam{
				JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: "city", Strict: openai.Bool(true), Schema: citySchema()},
			}
			check(t, "content", chat(t, params).Content, cityAnswer)
		},
		"json object": func(t *testing.T) {
			params := ask(openai.UserMessage(s.word("json") + ` [[text={"ok":true}]]`))
			params.ResponseFormat.OfJSONObject = &shared.ResponseFormatJSONObjectParam{}
			check(t, "content", chat(t, params).Content, `{"ok":true}`)
		},
		"image": func(t *testing.T) {
			prompt := s.word("image")
			got := chat(t, ask(openai.UserMessage([]openai.ChatCompletionContentPartUnionParam{
				openai.TextContentPart(prompt),
				openai.ImageContentPart(openai.ChatCompletionContentPartImageImageURLParam{URL: "data:image/png;base64," + pixel}),
			})))
			check(t, "content", got.Content, echo(prompt))
			hasInOrder(t, s.upstream.one(t, prompt), pixel)
		},
		"image by URL": func(t *testing.T) {
			prompt := s.word("picture")
			got := chat(t, ask(openai.UserMessage([]openai.ChatCompletionContentPartUnionParam{
				openai.TextContentPart(prompt), openai.ImageContentPart(openai.ChatCompletionContentPartImageImageURLParam{URL: picture}),
			})))
			check(t, "content", got.Content, echo(prompt))
			hasInOrder(t, s.upstream.one(t, prompt), picture)
		},
		"document": func(t *testing.T) {
			prompt := s.word("document")
			got := chat(t, ask(openai.UserMessage([]openai.ChatCompletionContentPartUnionParam{
				openai.TextContentPart(prompt),
				openai.FileContentPart(openai.ChatCompletionContentPartFileFileParam{
					Filename: openai.String("page.pdf"), FileData: openai.String("data:application/pdf;base64," + page64),
				}),
			})))
			check(t, "content", got.Content, echo(prompt))
			hasInOrder(t, s.upstream.one(t, prompt), page64)
		},
		"thinking": func(t *testing.T) {
			prompt := s.word("thinking")
			params := ask(openai.UserMessage(prompt))
			params.ReasoningEffort = shared.ReasoningEffortHigh
			got := chat(t, params)
			check(t, "content", got.Content, echo(prompt))
			if thought := got.JSON.ExtraFields["reasoning_content"].Raw(); len(thought) < 3 {
				t.Errorf("no reasoning_content in %s", got.RawJSON())
			}
		},
		"usage": func(t *testing.T) {
			prompt := s.word("usage")
			got, err := client.Chat.Completions.New(within(t), ask(openai.UserMessage(prompt)))
			if err != nil {
				t.Fatal(err)
			}
			check(t, "completion_tokens", got.Usage.CompletionTokens, tokens(echo(prompt)))
			check(t, "total_tokens", got.Usage.TotalTokens, got.Usage.PromptTokens+got.Usage.CompletionTokens)
			if got.Usage.PromptTokens == 0 || !got.Usage.PromptTokensDetails.JSON.CachedTokens.Valid() {
				t.Errorf("usage %s", got.Usage.RawJSON())
			}
			again := s.word("streamed")
			params := ask(openai.UserMessage(again))
			params.StreamOptions.IncludeUsage = openai.Bool(true)
			sum, _ := accumulate(t, &client, params)
			check(t, "streamed completion_tokens", sum.Usage.CompletionTokens, tokens(echo(again)))
		},
		"stream": func(t *testing.T) {
			prompt := s.word("stream")
			sum, deltas := accumulate(t, &client, ask(openai.UserMessage(prompt)))
			checkDeltas(t, deltas, echo(prompt))
			check(t, "content", sum.Choices[0].Message.Content, echo(prompt))
			check(t, "finish_reason", sum.Choices[0].FinishReason, "stop")
		},
		"tool stream": func(t *testing.T) {
			params := ask(openai.UserMessage(s.word("tools") + callTool(longCity)))
			params.Tools = openAIWeather()
			stream := client.Chat.Completions.NewStreaming(within(t), params)
			defer func() { _ = stream.Close() }()
			var sum openai.ChatCompletionAccumulator
			var parts []string
			finished := 0
			for stream.Next() {
				chunk := stream.Current()
				if !sum.AddChunk(chunk) {
					t.Fatalf("the client can't add %s", chunk.RawJSON())
				}
				if call, ok := sum.JustFinishedToolCall(); ok {
					finished++
					check(t, "name", call.Name, "weather")
				}
				for _, choice := range chunk.Choices {
					for _, call := range choice.Delta.ToolCalls {
						if call.Function.Arguments != "" {
							parts = append(parts, call.Function.Arguments)
						}
					}
				}
			}
			if err := stream.Err(); err != nil {
				t.Fatal(err)
			}
			check(t, "finished calls", finished, 1)
			checkDeltas(t, parts, `{"city":"`+longCity+`"}`)
		},
		"bad key": func(t *testing.T) {
			bad := s.openAIClient(backend, "cc_wrong", 0)
			_, err := bad.Chat.Completions.New(within(t), ask(openai.UserMessage("x")))
			failure := asError[*openai.Error](t, err)
			check(t, "status", failure.StatusCode, http.StatusUnauthorized)
			check(t, "code", failure.Code, "invalid_api_key")
		},
		"unknown model": func(t *testing.T) {
			params := ask(openai.UserMessage("x"))
			params.Model = "gpt-9"
			failure := refused(t, params)
			check(t, "status", failure.StatusCode, http.StatusNotFound)
			check(t, "code", failure.Code, "model_not_found")
		},
		"invalid request": func(t *testing.T) {
			params := ask(openai.UserMessage("x"))
			params.N = openai.Int(2)
			failure := refused(t, params)
			check(t, "status", failure.StatusCode, http.StatusBadRequest)
			check(t, "type", failure.Type, "invalid_request_error")
			check(t, "param", failure.Param, "n")
		},
		"rate limit": func(t *testing.T) {
			key, err := s.spentKey(within(t))
			if err != nil {
				t.Fatal(err)
			}
			prompt := s.word("limit")
			once := s.openAIClient(backend, key, 0)
			_, err = once.Chat.Completions.New(within(t), ask(openai.UserMessage(prompt)))
			failure := asError[*openai.Error](t, err)
			check(t, "status", failure.StatusCode, http.StatusTooManyRequests)
			checkRetryAfter(t, failure.Response.Header)
			// Only a client that waits as long as it is told gets through with one more try.
			again := s.openAIClient(backend, key, 1)
			got, err := again.Chat.Completions.New(within(t), ask(openai.UserMessage(prompt)))
			if err != nil {
				t.Fatal(err)
			}
			check(t, "content", got.Choices[0].Message.Content, echo(prompt))
		},
		"upstream error": func(t *testing.T) {
			check(t, "status", refused(t, ask(openai.UserMessage(s.word("fails")+" [[error=500]]"))).StatusCode, http.StatusBadGateway)
		},
		"error in a stream": func(t *testing.T) {
			stream := client.Chat.Completions.NewStreaming(within(t), ask(openai.UserMessage(s.word("breaks")+" [[tokens=20 error-after=3]]")))
			defer func() { _ = stream.Close() }()
			chunks := 0
			for stream.Next() {
				chunks++
			}
			if stream.Err() == nil || chunks == 0 {
				t.Errorf("%d chunks, error %v", chunks, stream.Err())
			}
		},
		"cancel": func(t *testing.T) {
			prompt := s.word("cancel")
			ctx, leave := context.WithCancel(within(t))
			defer leave()
			stream := client.Chat.Completions.NewStreaming(ctx, ask(openai.UserMessage(prompt+" [[tokens=50 hang-after=3]]")))
			defer func() { _ = stream.Close() }()
			for stream.Next() {
				if chunk := stream.Current(); len(chunk.Choices) > 0 && chunk.Choices[0].Delta.Content != "" {
					leave()
				}
			}
			if err := s.upstream.left(within(t), prompt); err != nil {
				t.Error(err)
			}
		},
		"models": func(t *testing.T) {
			pager := client.Models.ListAutoPaging(within(t))
			found := 0
			for pager.Next() {
				if id := pager.Current().ID; id == alias || id == model {
					found++
				}
			}
			if pager.Err() != nil || found != 2 {
				t.Errorf("found %d, %v", found, pager.Err())
			}
			if one, err := client.Models.Get(within(t), "sonnet"); err != nil || one.ID != "sonnet" {
				t.Errorf("sonnet: %v, %v", one, err)
			}
		},
	}
	s.addResponses(list, &client)
	return list
}

// accumulate reads a stream with the client's own accumulator, and its deltas.
func accumulate(t *testing.T, client *openai.Client, params openai.ChatCompletionNewParams) (*openai.ChatCompletionAccumulator, []string) {
	t.Helper()
	stream := client.Chat.Completions.NewStreaming(within(t), params)
	defer func() { _ = stream.Close() }()
	var sum openai.ChatCompletionAccumulator
	var deltas []string
	for stream.Next() {
		chunk := stream.Current()
		if !sum.AddChunk(chunk) {
			t.Fatalf("the client can't add %s", chunk.RawJSON())
		}
		if len(chunk.Choices) > 0 && chunk.Choices[0].Delta.Content != "" {
			deltas = append(deltas, chunk.Choices[0].Delta.Content)
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	return &sum, deltas
}
