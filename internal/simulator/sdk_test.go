package simulator

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
)

// sdk makes a client of the official SDK for a simulator of its own.
func sdk(t *testing.T) anthropic.Client {
	t.Helper()
	_, url := start(t, Options{})
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return anthropic.NewClient(
		option.WithBaseURL(url), option.WithAPIKey("sk-simulator"), option.WithMaxRetries(0),
		option.WithHTTPClient(&http.Client{Transport: transport}),
	)
}

func params(prompt string) anthropic.MessageNewParams {
	return anthropic.MessageNewParams{
		Model: "claude-haiku-5-5", MaxTokens: 2048,
		Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(prompt))},
	}
}

func TestSDKPlain(t *testing.T) {
	client := sdk(t)
	got, err := client.Messages.New(t.Context(), params("good morning"))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Content) != 1 || got.Content[0].Text != "Echo: good morning" {
		t.Errorf("content %+v", got.Content)
	}
	if got.StopReason != anthropic.StopReasonEndTurn || got.Usage.InputTokens != 3 || got.Usage.OutputTokens != 5 {
		t.Errorf("stop %s, usage %+v", got.StopReason, got.Usage)
	}
	if got.Model != "claude-haiku-5-5" || !strings.HasPrefix(got.ID, "msg_") {
		t.Errorf("model %s, id %s", got.Model, got.ID)
	}
}

// accumulate runs a stream to its end as the SDK adds it up.
func accumulate(t *testing.T, client anthropic.Client, p anthropic.MessageNewParams) (anthropic.Message, []string) {
	t.Helper()
	stream := client.Messages.NewStreaming(t.Context(), p)
	defer func() { _ = stream.Close() }()
	var message anthropic.Message
	var events []string
	for stream.Next() {
		event := stream.Current()
		if err := message.Accumulate(event); err != nil {
			t.Fatal(err)
		}
		if n := len(events); n == 0 || events[n-1] != event.Type {
			events = append(events, event.Type)
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	return message, events
}

func TestSDKStream(t *testing.T) {
	got, events := accumulate(t, sdk(t), params("[[tokens=40]] tell me"))
	if want := "message_start content_block_start content_block_delta content_block_stop message_delta message_stop"; strings.Join(events, " ") != want {
		t.Errorf("events %v", events) // the SDK leaves pings out
	}
	if len(got.Content) != 1 || len(got.Content[0].Text) != 160 || got.Usage.OutputTokens != 40 {
		t.Errorf("content %+v, usage %+v", got.Content, got.Usage)
	}
	if got.StopReason != anthropic.StopReasonEndTurn {
		t.Errorf("stop reason %s", got.StopReason)
	}
}

func TestSDKThinking(t *testing.T) {
	p := params("what is it?")
	p.Model, p.Thinking = "claude-haiku-4-5", anthropic.ThinkingConfigParamOfEnabled(1024)
	client := sdk(t)
	streamed, _ := accumulate(t, client, p)
	plain, err := client.Messages.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]anthropic.Message{"streamed": streamed, "plain": *plain} {
		if len(got.Content) != 2 || got.Content[0].Thinking != "Thinking about: what is it?" ||
			got.Content[0].Signature == "" || got.Content[1].Text != "Echo: what is it?" {
			t.Errorf("%s: content %+v", name, got.Content)
		}
	}
}

func TestSDKToolRoundTrip(t *testing.T) {
	p := params("how warm is it?")
	p.Tools = []anthropic.ToolUnionParam{{OfTool: &anthropic.ToolParam{
		Name: "get_weather",
		InputSchema: anthropic.ToolInputSchemaParam{
			Properties: map[string]any{
				"city": map[string]any{"type": "string"},
				"unit": map[string]any{"type": "string", "enum": []string{"kelvin", "celsius"}},
			},
			Required: []string{"city", "unit"},
		},
	}}}
	p.ToolChoice = anthropic.ToolChoiceParamOfTool("get_weather")
	client := sdk(t)
	got, _ := accumulate(t, client, p)
	if got.StopReason != anthropic.StopReasonToolUse || len(got.Content) != 1 {
		t.Fatalf("stop reason %s, content %+v", got.StopReason, got.Content)
	}
	call := got.Content[0]
	var input struct{ City, Unit string }
	if err := json.Unmarshal(call.Input, &input); err != nil {
		t.Fatal(err)
	}
	if call.Name != "get_weather" || input.City != "a city" || input.Unit != "kelvin" {
		t.Errorf("call of %s with %s", call.Name, call.Input)
	}

	p.Messages = append(p.Messages, got.ToParam(),
		anthropic.NewUserMessage(anthropic.NewToolResultBlock(call.ID, "290 kelvin", false)))
	end, err := client.Messages.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if end.StopReason != anthropic.StopReasonEndTurn || end.Content[0].Text != "Tool result: 290 kelvin" {
		t.Errorf("stop reason %s, content %+v", end.StopReason, end.Content)
	}
}

func TestSDKStructuredOutput(t *testing.T) {
	p := params("a person, please")
	p.OutputConfig.Format = anthropic.JSONOutputFormatParam{Schema: map[string]any{
		"type": "object", "required": []string{"name", "age"}, "additionalProperties": false,
		"properties": map[string]any{"name": map[string]any{"type": "string"}, "age": map[string]any{"type": "integer"}},
	}}
	client := sdk(t)
	got, err := client.Messages.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if got.Content[0].Text != `{"name":"a name","age":1}` {
		t.Errorf("answered %s", got.Content[0].Text)
	}
}

func TestSDKCountTokensAndModels(t *testing.T) {
	client := sdk(t)
	count, err := client.Messages.CountTokens(t.Context(), anthropic.MessageCountTokensParams{
		Model:    "claude-opus-5-5",
		System:   anthropic.MessageCountTokensParamsSystemUnion{OfString: anthropic.String("12345678")},
		Messages: params("1234 6789").Messages,
	})
	if err != nil || count.InputTokens != 5 {
		t.Errorf("count %+v, %v", count, err)
	}

	var ids []string
	pager := client.Models.ListAutoPaging(t.Context(), anthropic.ModelListParams{Limit: anthropic.Int(2)})
	for pager.Next() {
		ids = append(ids, pager.Current().ID)
	}
	if pager.Err() != nil || len(ids) != len(models()) || ids[0] != "claude-opus-5-5" {
		t.Errorf("models %v, %v", ids, pager.Err())
	}

	one, err := client.Models.Get(t.Context(), "claude-haiku-5-5", anthropic.ModelGetParams{})
	if err != nil || one.DisplayName != "Claude Haiku 5.5" || one.CreatedAt.Year() != 2026 {
		t.Errorf("model %+v, %v", one, err)
	}
	_, err = client.Models.Get(t.Context(), "claude-haiku-0", anthropic.ModelGetParams{})
	if apiErr := asSDKError(t, err); apiErr.StatusCode != http.StatusNotFound {
		t.Errorf("unknown model: %v", apiErr)
	}
}

func asSDKError(t *testing.T, err error) *anthropic.Error {
	t.Helper()
	var apiErr *anthropic.Error
	if !errors.As(err, &apiErr) {
		t.Fatalf("%v isn't an error of the API", err)
	}
	return apiErr
}

func TestSDKError(t *testing.T) {
	client := sdk(t)
	_, err := client.Messages.New(t.Context(), params("[[error=529 retry-after=7]]"))
	apiErr := asSDKError(t, err)
	if apiErr.StatusCode != 529 || apiErr.Type() != anthropic.ErrorTypeOverloadedError ||
		!strings.HasPrefix(apiErr.RequestID, "req_") || apiErr.Response.Header.Get("Retry-After") != "7" {
		t.Errorf("error %v, type %s, request %s", apiErr, apiErr.Type(), apiErr.RequestID)
	}

	stream := client.Messages.NewStreaming(t.Context(), params("[[error-after=2 tokens=5]]"))
	defer func() { _ = stream.Close() }()
	deltas := 0
	for stream.Next() {
		if stream.Current().Type == "content_block_delta" {
			deltas++
		}
	}
	if deltas != 2 || stream.Err() == nil || !strings.Contains(stream.Err().Error(), "overloaded_error") {
		t.Errorf("%d deltas, then %v", deltas, stream.Err())
	}
}
