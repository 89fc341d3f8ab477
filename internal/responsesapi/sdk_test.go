package responsesapi_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol/protocoltest"
)

func client(f *fixture) openai.Client {
	return openai.NewClient(
		option.WithBaseURL(strings.TrimSuffix(f.url, "responses")), option.WithAPIKey(protocoltest.Key), option.WithMaxRetries(0),
		option.WithHTTPClient(http.DefaultClient),
	)
}

func weather() []responses.ToolUnionParam {
	return []responses.ToolUnionParam{{OfFunction: &responses.FunctionToolParam{
		Name: "weather", Strict: openai.Bool(true), Description: openai.String("the weather of a city"),
		Parameters: map[string]any{"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}, "required": []string{"city"}},
	}}}
}

func output(callID, text string) responses.ResponseInputItemUnionParam {
	return responses.ResponseInputItemUnionParam{OfFunctionCallOutput: &responses.ResponseInputItemFunctionCallOutputParam{
		CallID: openai.String(callID), Output: responses.ResponseInputItemFunctionCallOutputOutputUnionParam{OfString: openai.String(text)},
	}}
}

func TestSDKFunctionRoundTrip(t *testing.T) {
	rooms := &protocoltest.Rooms{
		Message: []byte(`{"model":"claude-haiku-5-5","content":[{"type":"text","text":"I will look."},{"type":"tool_use","id":"toolu_1","name":"weather","input":{"city":"Paris"}}]}`),
		Result:  result(message.Usage{InputTokens: 3, OutputTokens: 2, CacheReadInputTokens: 4}, "tool_use"),
	}
	f := serve(t, rooms, nil)
	c := client(f)
	first, err := c.Responses.New(t.Context(), responses.ResponseNewParams{
		Model: "haiku", Tools: weather(), Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("weather in Paris?")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if first.Status != responses.ResponseStatusCompleted || first.OutputText() != "I will look." || first.Usage.InputTokens != 7 || first.Usage.InputTokensDetails.CachedTokens != 4 || first.Usage.TotalTokens != 9 {
		t.Errorf("response = %s", first.RawJSON())
	}
	if len(first.Tools) != 1 || first.Tools[0].AsFunction().Name != "weather" {
		t.Errorf("tools = %+v", first.Tools)
	}
	var call responses.ResponseFunctionToolCall
	for _, item := range first.Output {
		if one, ok := item.AsAny().(responses.ResponseFunctionToolCall); ok {
			call = one
		}
	}
	if call.CallID != "toolu_1" || call.Name != "weather" || call.Arguments != `{"city":"Paris"}` {
		t.Fatalf("call = %+v", call)
	}

	rooms.Message = []byte(whole)
	second, err := c.Responses.New(t.Context(), responses.ResponseNewParams{
		Model: "haiku", Tools: weather(), PreviousResponseID: openai.String(first.ID),
		Input: responses.ResponseNewParamsInputUnion{OfInputItemList: responses.ResponseInputParam{output(call.CallID, "sunny")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if second.OutputText() != `hel"lo` || second.PreviousResponseID != first.ID {
		t.Errorf("response = %s", second.RawJSON())
	}
	const talk = `"messages":[{"role":"user","content":[{"type":"text","text":"weather in Paris?"}]},{"role":"assistant","content":[{"type":"text","text":"I will look."},{"type":"tool_use","id":"toolu_1","name":"weather","input":{"city":"Paris"}}]},` +
		`{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":[{"type":"text","text":"sunny"}]}]}]}`
	if got := string(rooms.Calls()[1].Request.Body()); !strings.HasSuffix(got, talk) || !strings.Contains(got, `"strict":true`) || !strings.Contains(got, `"additionalProperties":false`) {
		t.Errorf("the request is %s", got)
	}

	kept, err := c.Responses.Get(t.Context(), second.ID, responses.ResponseGetParams{})
	if err != nil || kept.RawJSON() != second.RawJSON() {
		t.Errorf("kept = %v, %v", kept, err)
	}
	var kinds []string
	pages := c.Responses.InputItems.ListAutoPaging(t.Context(), second.ID, responses.InputItemListParams{Order: "asc", Limit: openai.Int(2)})
	for pages.Next() {
		kinds = append(kinds, pages.Current().Type)
	}
	if got := strings.Join(kinds, " "); pages.Err() != nil || got != "message message function_call function_call_output" {
		t.Errorf("input items are %s, %v", got, pages.Err())
	}
	if _, err := c.Responses.Cancel(t.Context(), second.ID); status(err) != http.StatusBadRequest {
		t.Errorf("cancel = %v", err)
	}
	if err := c.Responses.Delete(t.Context(), second.ID); err != nil {
		t.Errorf("delete = %v", err)
	}
	if _, err := c.Responses.Get(t.Context(), second.ID, responses.ResponseGetParams{}); status(err) != http.StatusNotFound {
		t.Errorf("get of a deleted one = %v", err)
	}
}

func status(err error) int {
	var e *openai.Error
	if errors.As(err, &e) {
		return e.StatusCode
	}
	return 0
}

// What the caller sends back of an answer by itself, without a kept response.
func TestSDKStatelessRoundTrip(t *testing.T) {
	rooms := &protocoltest.Rooms{Message: []byte(`{"model":"m","content":[{"type":"thinking","thinking":"hm","signature":"c2ln"},{"type":"redacted_thinking","data":"eA=="},{"type":"tool_use","id":"toolu_1","name":"weather","input":{}}]}`)}
	c := client(serve(t, rooms, nil))
	input := responses.ResponseInputParam{responses.ResponseInputItemParamOfMessage("weather?", responses.EasyInputMessageRoleUser)}
	ask := func() *responses.Response {
		t.Helper()
		r, err := c.Responses.New(t.Context(), responses.ResponseNewParams{
			Model: "haiku", Tools: weather(), Store: openai.Bool(false), Reasoning: openai.ReasoningParam{Effort: openai.ReasoningEffortHigh},
			Include: []responses.ResponseIncludable{responses.ResponseIncludableReasoningEncryptedContent},
			Input:   responses.ResponseNewParamsInputUnion{OfInputItemList: input},
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, item := range ask().Output {
		switch item := item.AsAny().(type) {
		case responses.ResponseReasoningItem:
			p := item.ToParam()
			input = append(input, responses.ResponseInputItemUnionParam{OfReasoning: &p})
		case responses.ResponseFunctionToolCall:
			p := item.ToParam()
			input = append(input, responses.ResponseInputItemUnionParam{OfFunctionCall: &p})
		}
	}
	input = append(input, output("toolu_1", "sunny"))
	ask()
	call := rooms.Calls()[1]
	const want = `{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"c2ln"},{"type":"redacted_thinking","data":"eA=="},{"type":"tool_use","id":"toolu_1","name":"weather","input":{}}]}`
	if got := string(call.Request.Body()); !strings.Contains(got, want) || !strings.Contains(got, `"thinking":{"type":"adaptive"}`) || len(call.Warnings) > 0 {
		t.Errorf("the request is %s, the warnings %q", got, call.Warnings)
	}
}

func TestSDKStream(t *testing.T) {
	for _, tt := range []struct{ file, status, text, arguments, thinking string }{
		{"text", "completed", "Hello, \"world\" ä\n", "", ""},
		{"tools", "completed", "I will look.", `{"city": "Paris"}{}{"a":1,"b":"x"}`, ""},
		{"thinking", "incomplete", "42", "", "Let me see."},
		{"refusal", "incomplete", "No.", "", ""},
	} {
		t.Run(tt.file, func(t *testing.T) {
			stream := golden(t, tt.file)
			c := client(serve(t, &protocoltest.Rooms{Stream: stream, Result: summary(t, stream)}, nil))
			events := c.Responses.NewStreaming(t.Context(), responses.ResponseNewParams{
				Model: "haiku", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("hi")},
			})
			var text, arguments, thinking, refusal, doneText strings.Builder
			var last responses.Response
			n := int64(0)
			for events.Next() {
				event := events.Current()
				if event.SequenceNumber != n {
					t.Errorf("event %d has the number %d", n, event.SequenceNumber)
				}
				n++
				switch event := event.AsAny().(type) {
				case responses.ResponseTextDeltaEvent:
					text.WriteString(event.Delta)
				case responses.ResponseTextDoneEvent:
					doneText.WriteString(event.Text)
				case responses.ResponseFunctionCallArgumentsDeltaEvent:
					arguments.WriteString(event.Delta)
				case responses.ResponseReasoningSummaryTextDeltaEvent:
					thinking.WriteString(event.Delta)
				case responses.ResponseRefusalDeltaEvent:
					refusal.WriteString(event.Delta)
				case responses.ResponseCompletedEvent:
					last = event.Response
				case responses.ResponseIncompleteEvent:
					last = event.Response
				}
			}
			if err := events.Err(); err != nil {
				t.Fatal(err)
			}
			if string(last.Status) != tt.status || text.String() != tt.text || doneText.String() != tt.text || arguments.String() != tt.arguments || thinking.String() != tt.thinking {
				t.Errorf("%s: %q, %q, %q", last.Status, text.String(), arguments.String(), thinking.String())
			}
			if last.OutputText() != tt.text {
				t.Errorf("the response's text is %q", last.OutputText())
			}
			if tt.file == "refusal" && refusal.String() != "I can't help with that." {
				t.Errorf("the refusal is %q", refusal.String())
			}
		})
	}
}

func TestSDKPreviousResponseNotFound(t *testing.T) {
	c := client(serve(t, &protocoltest.Rooms{}, nil))
	_, err := c.Responses.New(t.Context(), responses.ResponseNewParams{
		Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("hi")}, PreviousResponseID: openai.String("resp_none"),
	})
	var e *openai.Error
	if !errors.As(err, &e) || e.StatusCode != 400 || e.Code != "previous_response_not_found" || e.Param != "previous_response_id" {
		t.Errorf("error = %v", err)
	}
}

func TestSDKInputTokens(t *testing.T) {
	rooms := &protocoltest.Rooms{Message: []byte(`{"input_tokens":7}`), Result: gateway.Result{}}
	c := client(serve(t, rooms, nil))
	count, err := c.Responses.InputTokens.Count(t.Context(), responses.InputTokenCountParams{
		Model: param.NewOpt("haiku"), Input: responses.InputTokenCountParamsInputUnion{OfString: openai.String("hi")},
	})
	if err != nil || count.InputTokens != 7 {
		t.Errorf("count = %+v, %v", count, err)
	}
}
