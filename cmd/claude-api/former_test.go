package main

import (
	"strings"
	"syscall"
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
			r := accepted
			eventually(t, time.Minute, "it is done", func() bool {
				r = decode[run](t, s.get(t, accepted.StatusURL).body)
				return r.Status != "running"
			})
			if r.Status != "completed" || r.Response.Content != "Echo: "+word || r.ID != accepted.ID {
				t.Errorf("run = %+v", r)
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

// TestKillWhileAsyncRuns kills the service under a request of which the caller
// only has an id: the next start makes the answer anew, and still gives what was
// done before. A stop that can't wait does the same.
func TestKillWhileAsyncRuns(t *testing.T) {
	up := newUpstream(t)
	for _, tt := range []struct {
		name   string
		signal syscall.Signal
	}{{"killed", syscall.SIGKILL}, {"stopped", syscall.SIGTERM}} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, up.url, "off", "CLAUDE_API_SHUTDOWN_TIMEOUT=0.2")
			accept := func(prompt string) run {
				a := s.post(t, "/v1/process", processBody(prompt, `"async_processing":true`))
				if a.status != 202 {
					t.Fatalf("%d %s", a.status, a.body)
				}
				return decode[run](t, a.body)
			}
			done, slow := accept("quick"), accept("slow "+tt.name+" [[delay=2s]]")
			state := func(s *service, r run) run { return decode[run](t, s.get(t, r.StatusURL).body) }
			eventually(t, patience, "the quick one is done", func() bool { return state(s, done).Status == "completed" })
			eventually(t, patience, "the slow one runs", func() bool { return len(up.messages("slow "+tt.name)) == 1 })
			if r := state(s, slow); r.Status != "running" {
				t.Fatalf("run = %+v", r)
			}
			s.signal(t, tt.signal)
			s.exit(t)

			again := serveOn(t, s.data, up.url, "off")
			again.key = s.key
			if r := state(again, done); r.Status != "completed" || r.Response.Content != "Echo: quick" {
				t.Errorf("run = %+v", r)
			}
			if r := state(again, slow); r.Status != "running" {
				t.Errorf("run = %+v", r)
			}
			eventually(t, patience, "the slow one is done", func() bool { return state(again, slow).Status == "completed" })
			if n := len(up.messages("slow " + tt.name)); n != 2 {
				t.Errorf("it was asked %d times", n)
			}
		})
	}
}
