package main

import (
	"errors"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
)

// testResponses holds a conversation by /v1/responses with the official SDK, on
// both backends: the whole program, its database and the simulated API.
func testResponses(t *testing.T, s *stand) {
	client := openai.NewClient(option.WithBaseURL(s.url+"/v1"), option.WithAPIKey(s.key), option.WithHTTPClient(s.client), option.WithMaxRetries(0))
	ask := func(text, previous string) responses.ResponseNewParams {
		p := responses.ResponseNewParams{
			Model: "haiku", Instructions: openai.String("You are brief."), MaxOutputTokens: openai.Int(500),
			Input: responses.ResponseNewParamsInputUnion{OfString: openai.String(text)},
		}
		if previous != "" {
			p.PreviousResponseID = openai.String(previous)
		}
		return p
	}
	for _, backend := range []string{"cli", "direct"} {
		choose := option.WithHeader("X-Claude-Backend", backend)
		t.Run(backend, func(t *testing.T) {
			prompt := s.word("whole")
			first, err := client.Responses.New(within(t), ask(prompt, ""), choose)
			if err != nil {
				t.Fatal(err)
			}
			text := "Echo: " + prompt
			if first.OutputText() != text || first.Status != "completed" || first.Usage.OutputTokens != tokens(text) {
				t.Errorf("answered %s", first.RawJSON())
			}

			prompt = s.word("streamed")
			stream := client.Responses.NewStreaming(within(t), ask(prompt, first.ID), choose)
			defer func() { _ = stream.Close() }()
			var last responses.Response
			deltas := ""
			for stream.Next() {
				switch event := stream.Current().AsAny().(type) {
				case responses.ResponseTextDeltaEvent:
					deltas += event.Delta
				case responses.ResponseCompletedEvent:
					last = event.Response
				}
			}
			text = "Echo: " + prompt
			if stream.Err() != nil || deltas != text || last.OutputText() != text || last.PreviousResponseID != first.ID || last.Usage.InputTokens <= first.Usage.InputTokens {
				t.Errorf("streamed %q, %v, %s", deltas, stream.Err(), last.RawJSON())
			}

			kept, err := client.Responses.Get(within(t), last.ID, responses.ResponseGetParams{})
			if err != nil || kept.OutputText() != text {
				t.Errorf("kept %v, %v", kept, err)
			}
			if err := client.Responses.Delete(within(t), last.ID); err != nil {
				t.Error(err)
			}
			_, err = client.Responses.New(within(t), ask("x", last.ID), choose)
			var failure *openai.Error
			if !errors.As(err, &failure) || failure.StatusCode != 400 || failure.Code != "previous_response_not_found" {
				t.Errorf("going on from a deleted one: %v", err)
			}

			bad := ask("x", "")
			bad.Model = "gpt-9"
			_, err = client.Responses.New(within(t), bad, choose)
			if !errors.As(err, &failure) || failure.StatusCode != 404 || failure.Code != "model_not_found" {
				t.Errorf("an unknown model: %v", err)
			}
		})
	}

	for _, backend := range []string{"cli", "direct"} {
		t.Run("function on "+backend, func(t *testing.T) {
			choose := option.WithHeader("X-Claude-Backend", backend)
			p := ask("weather? [[tool=weather]]", "")
			p.Reasoning = openai.ReasoningParam{Effort: openai.ReasoningEffortLow, Summary: openai.ReasoningSummaryAuto}
			p.Tools = []responses.ToolUnionParam{{OfFunction: &responses.FunctionToolParam{
				Name: "weather", Parameters: map[string]any{"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}, "required": []string{"city"}},
			}}}
			p.MaxOutputTokens = openai.Int(4_000)
			first, err := client.Responses.New(within(t), p, choose)
			if err != nil {
				t.Fatal(err)
			}
			callID, thought := "", false
			for _, item := range first.Output {
				switch item := item.AsAny().(type) {
				case responses.ResponseFunctionToolCall:
					callID = item.CallID
				case responses.ResponseReasoningItem:
					thought = len(item.Summary) == 1
				}
			}
			if callID == "" || !thought {
				t.Fatalf("answered %s", first.RawJSON())
			}
			p.PreviousResponseID = openai.String(first.ID)
			p.Input = responses.ResponseNewParamsInputUnion{OfInputItemList: responses.ResponseInputParam{{OfFunctionCallOutput: &responses.ResponseInputItemFunctionCallOutputParam{
				CallID: openai.String(callID), Output: responses.ResponseInputItemFunctionCallOutputOutputUnionParam{OfString: openai.String("sunny")},
			}}}}
			second, err := client.Responses.New(within(t), p, choose)
			if err != nil || second.OutputText() != "Tool result: sunny" {
				t.Errorf("answered %v, %v", second, err)
			}
		})
	}
}
