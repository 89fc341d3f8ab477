package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	openaioption "github.com/openai/openai-go/v3/option"
)

func testOpenAISDK(t *testing.T, s *stand) {
	client := openai.NewClient(openaioption.WithBaseURL(s.url+"/v1"), openaioption.WithAPIKey(s.key),
		openaioption.WithHTTPClient(s.client), openaioption.WithMaxRetries(0))
	params := func(prompt string) openai.ChatCompletionNewParams {
		return openai.ChatCompletionNewParams{
			Model: "haiku", MaxCompletionTokens: openai.Int(500),
			Messages: []openai.ChatCompletionMessageParamUnion{
				openai.SystemMessage("You are brief."), openai.UserMessage("one"), openai.AssistantMessage("two"), openai.UserMessage(prompt),
			},
			StreamOptions: openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)},
		}
	}
	for _, backend := range []string{"cli", "direct"} {
		choose := openaioption.WithHeader("X-Claude-Backend", backend)
		t.Run(backend, func(t *testing.T) {
			prompt := s.word("whole")
			p := params(prompt)
			p.StreamOptions = openai.ChatCompletionStreamOptionsParam{}
			got, err := client.Chat.Completions.New(within(t), p, choose)
			if err != nil {
				t.Fatal(err)
			}
			text := "Echo: " + prompt
			if len(got.Choices) != 1 || got.Choices[0].Message.Content != text || got.Choices[0].FinishReason != "stop" || got.Usage.CompletionTokens != tokens(text) {
				t.Errorf("answered %s", got.RawJSON())
			}

			prompt = s.word("streamed")
			stream := client.Chat.Completions.NewStreaming(within(t), params(prompt), choose)
			defer func() { _ = stream.Close() }()
			var sum openai.ChatCompletionAccumulator
			for stream.Next() {
				if !sum.AddChunk(stream.Current()) {
					t.Fatalf("the SDK can't add %s", stream.Current().RawJSON())
				}
			}
			if err := stream.Err(); err != nil {
				t.Fatal(err)
			}
			text = "Echo: " + prompt
			if sum.Choices[0].Message.Content != text || sum.Choices[0].FinishReason != "stop" || sum.Usage.CompletionTokens != tokens(text) {
				t.Errorf("streamed %+v, usage %+v", sum.Choices, sum.Usage)
			}

			_, err = client.Chat.Completions.New(within(t), openai.ChatCompletionNewParams{
				Model: "gpt-9", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("x")},
			}, choose)
			var failure *openai.Error
			if !errors.As(err, &failure) || failure.StatusCode != 404 || failure.Code != "model_not_found" || failure.Param != "model" {
				t.Errorf("an unknown model: %v", err)
			}
		})
	}
	pager := client.Models.ListAutoPaging(within(t))
	found := false
	for pager.Next() {
		found = found || pager.Current().ID == "sonnet"
	}
	if pager.Err() != nil || !found {
		t.Errorf("models: found %v, %v", found, pager.Err())
	}
}

func testAnthropicSDK(t *testing.T, s *stand) {
	client := anthropic.NewClient(anthropicoption.WithBaseURL(s.url), anthropicoption.WithAPIKey(s.key),
		anthropicoption.WithHTTPClient(s.client), anthropicoption.WithMaxRetries(0))
	params := func(prompt string) anthropic.MessageNewParams {
		return anthropic.MessageNewParams{
			Model: "haiku", MaxTokens: 500,
			System: []anthropic.TextBlockParam{{Text: "You are brief."}},
			Messages: []anthropic.MessageParam{
				anthropic.NewUserMessage(anthropic.NewTextBlock("one")), anthropic.NewAssistantMessage(anthropic.NewTextBlock("two")),
				anthropic.NewUserMessage(anthropic.NewTextBlock(prompt)),
			},
		}
	}
	for _, backend := range []string{"cli", "direct"} {
		choose := anthropicoption.WithHeader("X-Claude-Backend", backend)
		t.Run(backend, func(t *testing.T) {
			prompt := s.word("whole")
			got, err := client.Messages.New(within(t), params(prompt), choose)
			if err != nil {
				t.Fatal(err)
			}
			text := "Echo: " + prompt
			if len(got.Content) != 1 || got.Content[0].Text != text || got.StopReason != anthropic.StopReasonEndTurn || got.Usage.OutputTokens != tokens(text) {
				t.Errorf("answered %s", got.RawJSON())
			}

			prompt = s.word("streamed")
			stream := client.Messages.NewStreaming(within(t), params(prompt), choose)
			defer func() { _ = stream.Close() }()
			var sum anthropic.Message
			for stream.Next() {
				if err := sum.Accumulate(stream.Current()); err != nil {
					t.Fatal(err)
				}
			}
			if err := stream.Err(); err != nil {
				t.Fatal(err)
			}
			text = "Echo: " + prompt
			if len(sum.Content) != 1 || sum.Content[0].Text != text || sum.StopReason != anthropic.StopReasonEndTurn || sum.Usage.OutputTokens != tokens(text) {
				t.Errorf("streamed %+v, usage %+v", sum.Content, sum.Usage)
			}

			bad := params("x")
			bad.Model = "gpt-9"
			_, err = client.Messages.New(within(t), bad, choose)
			var failure *anthropic.Error
			if !errors.As(err, &failure) || failure.StatusCode != 404 || failure.Type() != anthropic.ErrorTypeNotFoundError || !strings.HasPrefix(failure.RequestID, "req_") {
				t.Errorf("an unknown model: %v", err)
			}
		})
	}
	pager := client.Models.ListAutoPaging(within(t), anthropic.ModelListParams{Limit: anthropic.Int(4)})
	found := 0
	for pager.Next() {
		if id := pager.Current().ID; id == "sonnet" || id == "claude-opus-5-5" {
			found++
		}
	}
	if pager.Err() != nil || found != 2 {
		t.Errorf("models: found %d, %v", found, pager.Err())
	}
}
