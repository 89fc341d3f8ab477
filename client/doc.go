// Package client calls a claude-code-api-service: answers at once, as a stream or later,
// batches, agentic tasks, sessions, chats on a WebSocket, and what there is to know about
// the service. What goes over the wire has its types here.
//
//	c, err := client.New(client.Options{URL: "http://127.0.0.1:8006", Key: key})
//	answer, err := c.Process(ctx, client.ProcessRequest{Model: "haiku", Prompt: "Name a river."})
//
// The clients of OpenAI and Anthropic serve for chat completions, responses and messages.
package client
