package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// sent is a request for a message as it reached the upstream.
type sent struct {
	Model     string
	MaxTokens int64 `json:"max_tokens"`
	System    json.RawMessage
	Messages  []struct {
		Role    string
		Content json.RawMessage
	}
	Thinking *struct{ Type string }
}

// with gives the index of the first message of a role that holds the text, or
// -1.
func (r *sent) with(role, text string) int {
	for i, m := range r.Messages {
		if m.Role == role && strings.Contains(string(m.Content), text) {
			return i
		}
	}
	return -1
}

func testHistory(t *testing.T, s *stand) {
	for _, backend := range []string{"cli", "direct"} {
		t.Run(backend, func(t *testing.T) { testHistoryOn(t, s, backend) })
	}
}

// testHistoryOn sends a conversation and looks at what reached the upstream.
func testHistoryOn(t *testing.T, s *stand, backend string) {
	for _, endpoint := range []struct{ name, path string }{
		{"chat", "/v1/chat/completions"}, {"messages", "/v1/messages"}, {"process", "/v1/process"},
	} {
		t.Run(endpoint.name, func(t *testing.T) {
			system, first, second, third := s.word("persona"), s.word("first"), s.word("second"), s.word("third")
			turns := `{"role":"user","content":` + quote(first) + `},{"role":"assistant","content":` + quote(second) +
				`},{"role":"user","content":` + quote(third) + `}]`
			body := `"messages":[` + turns + `,"system":` + quote(system) + `}`
			switch endpoint.name {
			case "chat":
				body = `{"model":"haiku","messages":[{"role":"system","content":` + quote(system) + `},` + turns + `}`
			case "messages":
				body = `{"model":"haiku","max_tokens":100,` + body
			case "process":
				body = `{"provider":"anthropic","model_name":"haiku","system_message":` + quote(system) + `,"messages":[` + turns + `}`
			}
			a := s.post(t, endpoint.path, body, "X-Claude-Backend", backend)
			if a.status != 200 || !strings.Contains(a.body, "Echo: "+third) {
				t.Fatalf("%d %s", a.status, a.body)
			}
			got := decode[sent](t, string(s.upstream.one(t, third)))
			if !strings.Contains(string(got.System), system) {
				t.Errorf("the system prompt reached the upstream as %.500s", got.System)
			}
			one, two, three := got.with("user", first), got.with("assistant", second), got.with("user", third)
			if one < 0 || two <= one || three <= two {
				t.Errorf("the turns reached the upstream as %d, %d, %d of %+v", one, two, three, got.Messages)
			}
			for _, m := range got.Messages {
				if n := strings.Count(string(m.Content), first) + strings.Count(string(m.Content), second) +
					strings.Count(string(m.Content), third) + strings.Count(string(m.Content), system); n > 1 {
					t.Errorf("turns became one: %s", m.Content)
				}
			}
			// Nothing of it is left for the next one.
			next := s.word("next")
			s.post(t, "/v1/chat/completions", chat(next), "X-Claude-Backend", backend)
			rest := string(s.upstream.one(t, next))
			for _, former := range []string{system, first, second, third} {
				if strings.Contains(rest, former) {
					t.Errorf("the next request's body holds %q of the former", former)
				}
			}
		})
	}
}

// onePixel is a PNG.
const onePixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

func testImages(t *testing.T, s *stand) {
	for _, backend := range []string{"cli", "direct"} {
		for path, image := range map[string]string{
			"/v1/chat/completions": `{"type":"image_url","image_url":{"url":"data:image/png;base64,` + onePixel + `"}}`,
			"/v1/messages":         `{"type":"image","source":{"type":"base64","media_type":"image/png","data":"` + onePixel + `"}}`,
		} {
			t.Run(backend+path, func(t *testing.T) {
				prompt := s.word("what is this")
				a := s.post(t, path, `{"model":"haiku","max_tokens":100,"messages":[{"role":"user","content":[`+image+`,{"type":"text","text":`+quote(prompt)+`}]}]}`,
					"X-Claude-Backend", backend)
				if a.status != 200 || !strings.Contains(a.body, "Echo: "+prompt) {
					t.Fatalf("%d %s", a.status, a.body)
				}
				got := decode[sent](t, string(s.upstream.one(t, prompt)))
				at := got.with("user", prompt)
				if at < 0 {
					t.Fatalf("no user message with the prompt: %+v", got)
				}
				found := false
				for _, block := range decode[[]struct {
					Type   string
					Source struct {
						Type      string
						MediaType string `json:"media_type"`
						Data      string
					}
				}](t, string(got.Messages[at].Content)) {
					if block.Type == "image" {
						found = block.Source.Type == "base64" && block.Source.MediaType == "image/png" && block.Source.Data == onePixel
					}
				}
				if !found {
					t.Errorf("no such image block in %.600s", got.Messages[at].Content)
				}
			})
		}
	}
}

func testThinking(t *testing.T, s *stand) {
	for _, backend := range []string{"cli", "direct"} {
		for _, tt := range []struct {
			name, path, ask string
			body            func(string, ...string) string
			shows           string
		}{
			{"chat", "/v1/chat/completions", `"reasoning_effort":"low"`, chat, `"reasoning_content":"Thinking about`},
			{"messages", "/v1/messages", `"max_tokens":4096,"thinking":{"type":"enabled","budget_tokens":2048}`, thinkingBody, `"thinking":"Thinking about`},
		} {
			t.Run(backend+" "+tt.name, func(t *testing.T) {
				prompt := s.word("a riddle")
				body := tt.body(prompt, tt.ask)
				if backend == "direct" {
					body = older(body)
				}
				a := s.post(t, tt.path, body, "X-Claude-Backend", backend)
				if a.status != 200 || !strings.Contains(a.body, tt.shows) || !strings.Contains(a.body, "Echo: "+prompt) {
					t.Errorf("the answer shows no thinking: %d %s", a.status, a.body)
				}
				if got := decode[sent](t, string(s.upstream.one(t, prompt))); got.Thinking == nil || got.Thinking.Type == "disabled" {
					t.Errorf("thinking didn't reach the upstream: %+v", got.Thinking)
				}
				plain := s.word("no riddle")
				a = s.post(t, tt.path, tt.body(plain, `"max_tokens":4096`), "X-Claude-Backend", backend)
				if a.status != 200 || strings.Contains(a.body, "Thinking about") {
					t.Errorf("it thinks unasked: %d %s", a.status, a.body)
				}
				if got := decode[sent](t, string(s.upstream.one(t, plain))); got.Thinking != nil && got.Thinking.Type != "disabled" {
					t.Errorf("thinking reached the upstream unasked: %+v", got.Thinking)
				}
			})
		}
	}
}

// thinkingBody is a Messages request whose max_tokens comes with the rest.
func thinkingBody(prompt string, more ...string) string {
	return `{"model":"haiku","messages":[{"role":"user","content":` + quote(prompt) + `}]` + members(more) + `}`
}

func testMaxTokens(t *testing.T, s *stand) {
	for _, tt := range []struct {
		name, path, reason string
		body               func(string, ...string) string
	}{
		{"chat", "/v1/chat/completions", `"finish_reason":"length"`, chat},
		{"messages", "/v1/messages", `"stop_reason":"max_tokens"`, thinkingBody},
		{"process", "/v1/process", `"finish_reason":"length"`, processBody},
	} {
		for _, backend := range []string{"cli", "direct"} {
			t.Run(tt.name+" "+backend, func(t *testing.T) {
				for _, n := range []int64{7, 9_000} {
					prompt := s.word("at length")
					id := s.id()
					a := s.post(t, tt.path, tt.body(prompt+" [[tokens=50]]", `"max_tokens":`+decimal(n)), "X-Claude-Backend", backend, "X-Request-ID", id)
					if a.status != 200 || strings.Contains(a.body, tt.reason) != (n == 7) {
						t.Errorf("max_tokens %d: %d %s", n, a.status, a.body)
					}
					// The CLI goes on by itself where max_tokens cut an answer, until it
					// is interrupted: what it asks then isn't the caller's.
					requests := s.upstream.messages(prompt)
					if len(requests) == 0 {
						t.Fatal("nothing reached the upstream")
					}
					if got := decode[sent](t, string(requests[0].Body)); got.MaxTokens != n {
						t.Errorf("max_tokens %d reached the upstream as %d", n, got.MaxTokens)
					}
					// What the CLI asked for by itself was spent, and is counted.
					got, want := row(t, s.db, id).Usage.OutputTokens, min(n, 50)
					if got < want || len(requests) == 1 && got != want {
						t.Errorf("max_tokens %d: %d output tokens in the ledger after %d calls", n, got, len(requests))
					}
				}
			})
		}
	}
}

func decimal(n int64) string {
	b, _ := json.Marshal(n) //nolint:errchkjson // a number always has a JSON form
	return string(b)
}
