package main

import (
	"sync"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	openaioption "github.com/openai/openai-go/v3/option"
)

// TestSDKsPassOverHeartbeats has the official SDKs read streams whose upstream is
// silent for longer than the first heartbeat takes.
func TestSDKsPassOverHeartbeats(t *testing.T) {
	t.Parallel() // it waits, and does nothing else
	up := newUpstream(t)
	s := serve(t, up.url, "off").ready(t)
	const prompt, text = "slow [[delay=16s]]", "Echo: slow"
	var both sync.WaitGroup
	both.Go(func() {
		client := openai.NewClient(openaioption.WithBaseURL(s.url+"/v1"), openaioption.WithAPIKey(s.key), openaioption.WithHTTPClient(s.client))
		stream := client.Chat.Completions.NewStreaming(within(t), openai.ChatCompletionNewParams{
			Model: "haiku", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(prompt)},
		})
		defer func() { _ = stream.Close() }()
		var sum openai.ChatCompletionAccumulator
		for stream.Next() {
			sum.AddChunk(stream.Current())
		}
		if err := stream.Err(); err != nil || len(sum.Choices) != 1 || sum.Choices[0].Message.Content != text {
			t.Errorf("openai: %+v, %v", sum.Choices, err)
		}
	})
	both.Go(func() {
		client := anthropic.NewClient(anthropicoption.WithBaseURL(s.url), anthropicoption.WithAPIKey(s.key), anthropicoption.WithHTTPClient(s.client))
		stream := client.Messages.NewStreaming(within(t), anthropic.MessageNewParams{
			Model: "haiku", MaxTokens: 500, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(prompt))},
		})
		defer func() { _ = stream.Close() }()
		var sum anthropic.Message
		for stream.Next() {
			if err := sum.Accumulate(stream.Current()); err != nil {
				t.Errorf("anthropic: %v", err)
				return
			}
		}
		if err := stream.Err(); err != nil || len(sum.Content) != 1 || sum.Content[0].Text != text {
			t.Errorf("anthropic: %+v, %v", sum.Content, err)
		}
	})
	lines, _ := s.open(t, "/v1/messages", messagesBody(prompt, `"stream":true`))
	until(t, lines, ": keep-alive")
	until(t, lines, "message_stop")
	both.Wait()
}
