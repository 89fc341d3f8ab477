package main

import (
	"strings"
	"testing"
	"time"
)

// run is an asynchronous request of /v1/process.
type run struct {
	ID        string
	Status    string
	StatusURL string `json:"status_url"`
	Response  struct{ Content string }
	Detail    string
}

// testProcess goes through the former service's family on both backends.
func testProcess(t *testing.T, s *stand) {
	for _, backend := range []string{"cli", "direct"} {
		t.Run(backend+" stream", func(t *testing.T) {
			word := s.word("stream")
			a := s.post(t, "/v1/process", processBody(word, `"additional_params":{"stream":true}`), "X-Claude-Backend", backend)
			if a.status != 200 || !strings.Contains(a.body, "event: token\n") || !strings.Contains(a.body, `data: {"type":"done","content":"Echo: `+word+`"`) {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
		t.Run(backend+" async", func(t *testing.T) {
			word := s.word("later")
			a := s.post(t, "/v1/process", processBody(word, `"async_processing":true`), "X-Claude-Backend", backend)
			accepted := decode[run](t, a.body)
			if a.status != 202 || a.header.Get("Location") != accepted.StatusURL {
				t.Fatalf("%d %s", a.status, a.body)
			}
			for began := time.Now(); ; {
				r := decode[run](t, s.get(t, accepted.StatusURL).body)
				if r.Status == "completed" && r.Response.Content == "Echo: "+word && r.ID == accepted.ID {
					return
				}
				if r.Status != "running" || time.Since(began) > time.Minute {
					t.Fatalf("run = %+v", r)
				}
				time.Sleep(5 * time.Millisecond) // the interval of a client that asks
			}
		})
		t.Run(backend+" batch", func(t *testing.T) {
			first, second := s.word("first"), s.word("second")
			a := s.post(t, "/v1/batch", `{"model":"haiku","prompts":[`+quote(first)+`,{"id":"b","prompt":`+quote(second)+`}]}`, "X-Claude-Backend", backend)
			if a.status != 200 || !strings.Contains(a.body, `{"total":2,"completed":2,"failed":0,`) ||
				strings.Index(a.body, `"content":"Echo: `+first) > strings.Index(a.body, `"content":"Echo: `+second) {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
		t.Run(backend+" tools", func(t *testing.T) { testProcessTools(t, s, backend) })
		t.Run(backend+" schema", func(t *testing.T) {
			a := s.post(t, "/v1/process", processBody(s.word("w"), `"output_schema":{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}`), "X-Claude-Backend", backend)
			answer := decode[struct{ Content string }](t, a.body)
			if a.status != 200 || !strings.HasPrefix(answer.Content, `{"a":`) {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
		t.Run(backend+" media", func(t *testing.T) {
			word := s.word("media")
			a := s.post(t, "/v1/process", processBody(word, `"media_content":[{"type":"image/png","data":"`+onePixel+`"}]`), "X-Claude-Backend", backend)
			if a.status != 200 || !strings.Contains(a.body, "Echo: "+word) {
				t.Errorf("%d %s", a.status, a.body)
			}
			if body := string(s.upstream.one(t, word)); !strings.Contains(body, onePixel) {
				t.Errorf("the upstream didn't get the image: %.500s", body)
			}
		})
	}
	t.Run("usage", func(t *testing.T) {
		tokens := func() int64 {
			report := decode[struct {
				Total int64 `json:"total_tokens"`
			}](t, s.get(t, "/v1/usage?period=month").body)
			return report.Total
		}
		before := tokens()
		answer := decode[struct {
			Metadata struct {
				Usage struct {
					Total int64 `json:"total_tokens"`
				}
			}
		}](t, s.post(t, "/v1/process", processBody(s.word("usage"))).body)
		if spent := tokens() - before; spent != answer.Metadata.Usage.Total || spent == 0 {
			t.Errorf("the report grew by %d tokens, the answer says %d", spent, answer.Metadata.Usage.Total)
		}
	})
}

// testProcessTools has a tool called and its result read.
func testProcessTools(t *testing.T, s *stand, backend string) {
	const tools = `"tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}]`
	prompt := s.word("ask") + " [[tool=weather]]"
	type answer struct {
		Content string
		Blocks  []struct{ Type, ID, Name string } `json:"content_blocks"`
		Meta    struct {
			Finish string `json:"finish_reason"`
		} `json:"metadata"`
	}
	a := s.post(t, "/v1/process", processBody(prompt, tools), "X-Claude-Backend", backend)
	first := decode[answer](t, a.body)
	last := len(first.Blocks) - 1
	if a.status != 200 || first.Meta.Finish != "tool_calls" || last < 0 || first.Blocks[last].Type != "tool_use" || first.Blocks[last].Name != "weather" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	body := `{"provider":"openai","model_name":"gpt-4","messages":[{"role":"user","content":` + quote(prompt) + `},` +
		`{"role":"assistant","content":null,"tool_calls":[{"id":"` + first.Blocks[last].ID + `","type":"function","function":{"name":"weather","arguments":"{}"}}]},` +
		`{"role":"tool","tool_call_id":"` + first.Blocks[last].ID + `","content":"sunny"}],` + tools + `}`
	a = s.post(t, "/v1/process", body, "X-Claude-Backend", backend)
	if second := decode[answer](t, a.body); a.status != 200 || second.Content != "Tool result: sunny" || second.Meta.Finish != "stop" {
		t.Errorf("%d %s", a.status, a.body)
	}
}
