package claudecli_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/message"
)

// scripted is an upstream that answers what a model shouldn't: each request gets
// the next answer, later ones a text.
type scripted struct {
	*httptest.Server
	mu      sync.Mutex
	answers []scriptedAnswer
	bodies  []string
}

// scriptedAnswer is one answer of blocks, each a JSON object of type tool_use
// whose member input is a string: the raw input.
type scriptedAnswer struct {
	calls []scriptedCall
	stop  string
	cut   bool // the connection breaks before the message ends
	hang  bool // nothing comes at all
}

type scriptedCall struct{ id, name, input string }

func newScripted(t *testing.T) *scripted {
	s := &scripted{}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func (s *scripted) script(answers ...scriptedAnswer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers, s.bodies = answers, nil
}

func (s *scripted) sent() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.bodies...)
}

func (s *scripted) take(body string) scriptedAnswer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodies = append(s.bodies, body)
	if len(s.answers) == 0 {
		return scriptedAnswer{stop: message.StopEndTurn}
	}
	answer := s.answers[0]
	s.answers = s.answers[1:]
	return answer
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if r.Method != http.MethodPost || err != nil {
		http.NotFound(w, r)
		return
	}
	answer := s.take(string(body))
	if answer.hang {
		<-r.Context().Done()
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	put := func(event, data string, args ...any) {
		_, _ = fmt.Fprintf(w, "event: %s\ndata: "+data+"\n\n", append([]any{event}, args...)...)
	}
	put("message_start", `{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":100,"output_tokens":1}}}`)
	put("content_block_start", `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`)
	put("content_block_delta", `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"said"}}`)
	put("content_block_stop", `{"type":"content_block_stop","index":0}`)
	for i, call := range answer.calls {
		put("content_block_start", `{"type":"content_block_start","index":%d,"content_block":{"type":"tool_use","id":%q,"name":%q,"input":{}}}`, i+1, call.id, call.name)
		put("content_block_delta", `{"type":"content_block_delta","index":%d,"delta":{"type":"input_json_delta","partial_json":%q}}`, i+1, call.input)
		put("content_block_stop", `{"type":"content_block_stop","index":%d}`, i+1)
	}
	if answer.cut {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	put("message_delta", `{"type":"message_delta","delta":{"stop_reason":%q,"stop_sequence":null},"usage":{"output_tokens":50}}`, answer.stop)
	put("message_stop", `{"type":"message_stop"}`)
}

var withClock = claudecli.Settings{Model: testModel, Tools: []message.Tool{clock()}}

// eachScripted runs a test on a real CLI of each version, bound to a tool, in
// front of a scripted upstream. The process must be emptied at the end, and what
// comes then must be clean.
func eachScripted(t *testing.T, test func(t *testing.T, p *claudecli.Process, s *scripted)) {
	t.Helper()
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) {
			s := newScripted(t)
			p, err := claudecli.Start(claudecli.Options{
				Path: clitest.Path(t, version), Root: t.TempDir(), Model: testModel, Features: bothVersions[version],
				BaseURL: s.URL, APIKey: "sk-simulator", IdleTimeout: 10 * time.Second,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Close)
			ready(t, p)
			if err := p.Bind(t.Context(), withClock); err != nil {
				t.Fatal(err)
			}
			test(t, p, s)
			if err := p.Empty(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.script()
			if err := p.Bind(t.Context(), claudecli.Settings{Model: testModel}); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Turn(t.Context(), prompt("clean"), claudecli.Handler{}); err != nil {
				t.Fatal(err)
			}
			if sent := s.sent(); len(sent) != 1 || strings.Contains(sent[0], "toolu_") || strings.Contains(sent[0], "mcp__") {
				t.Errorf("after it: %q", sent)
			}
		})
	}
}

const readTool = "mcp__c__Read"

// TestAnswersThatDoNotPark end in a tool call, or begin one, and leave nothing to
// resume: the client's next request is a replay.
func TestAnswersThatDoNotPark(t *testing.T) {
	ok := scriptedCall{"toolu_1", readTool, `{}`}
	cases := []struct {
		name   string
		answer scriptedAnswer
		want   string // a name that the caller sees
	}{
		{"a tool that nobody offered", scriptedAnswer{calls: []scriptedCall{{"toolu_9", "mcp__c__made_up", `{}`}}, stop: "tool_use"}, `"made_up"`},
		{"a tool of the CLI's own", scriptedAnswer{calls: []scriptedCall{ok, {"toolu_9", "Bash", `{"command":"true"}`}}, stop: "tool_use"}, `"Bash"`},
		{"a call whose input isn't JSON", scriptedAnswer{calls: []scriptedCall{{"toolu_9", readTool, `{"a": tru`}}, stop: "tool_use"}, `"Read"`},
		{"max_tokens in the middle of a call", scriptedAnswer{calls: []scriptedCall{{"toolu_9", readTool, `{"a": 1`}}, stop: "max_tokens"}, `"Read"`},
		{"max_tokens after a whole call", scriptedAnswer{calls: []scriptedCall{ok}, stop: "max_tokens"}, `"Read"`},
		{"a call in an answer that just ends", scriptedAnswer{calls: []scriptedCall{ok}, stop: "end_turn"}, `"Read"`},
		{"a call in an answer that pauses", scriptedAnswer{calls: []scriptedCall{ok}, stop: "pause_turn"}, `"Read"`},
		{"a call in an answer that was refused", scriptedAnswer{calls: []scriptedCall{ok}, stop: "refusal"}, `"Read"`},
	}
	eachScripted(t, func(t *testing.T, p *claudecli.Process, s *scripted) {
		for _, c := range cases {
			if err := p.Bind(t.Context(), withClock); err != nil {
				t.Fatal(err)
			}
			s.script(c.answer)
			var events stream
			answer, err := p.Turn(t.Context(), prompt("go"), events.handler())
			if err != nil || p.Parked() || answer.Calls != nil || answer.StopReason != c.answer.stop || answer.Turn == nil {
				t.Fatalf("%s: answer = %+v, calls %v, parked %t, %v", c.name, answer.Summary, answer.Calls, p.Parked(), err)
			}
			if answer.Usage.OutputTokens != 50 {
				t.Errorf("%s: usage = %+v", c.name, answer.Usage)
			}
			got := strings.Join(events.data, "\n")
			if !strings.Contains(got, c.want) || strings.Contains(got, "mcp__") || events.types[len(events.types)-1] != message.EventMessageStop {
				t.Errorf("%s: events:\n%s", c.name, got)
			}
			if strings.Count(got, message.EventMessageStart) != 1 {
				t.Errorf("%s: events: %v", c.name, events.types)
			}
			if err := p.Empty(t.Context()); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
	})
}

func TestAnUpstreamThatBreaksAfterACall(t *testing.T) {
	eachScripted(t, func(t *testing.T, p *claudecli.Process, s *scripted) {
		s.script(scriptedAnswer{calls: []scriptedCall{{"toolu_1", readTool, `{}`}}, cut: true})
		started := time.Now()
		answer, err := p.Turn(t.Context(), prompt("go"), claudecli.Handler{})
		if e := apierror.From(err); e == nil || e.Category == apierror.Timeout || p.Parked() || answer.Calls != nil {
			t.Errorf("answer = %+v after %v, %v", answer.Summary, time.Since(started), err)
		}
	})
}

// TestAResultThatTheCLIDoesNotAskFor is one for a call that the CLI finds wrong:
// it has told the model so by itself.
func TestAResultThatTheCLIDoesNotAskFor(t *testing.T) {
	eachScripted(t, func(t *testing.T, p *claudecli.Process, s *scripted) {
		s.script(scriptedAnswer{calls: []scriptedCall{{"toolu_1", readTool, `{}`}, {"toolu_2", readTool, `{"a": tru`}}, stop: "tool_use"})
		answer, err := p.Turn(t.Context(), prompt("go"), claudecli.Handler{})
		if err != nil || len(answer.Calls) != 2 {
			t.Fatalf("answer = %+v, calls %v, %v", answer.Summary, answer.Calls, err)
		}
		events := 0
		_, err = p.Resume(t.Context(), withClock, []claudecli.ToolResult{result("toolu_1", "a"), result("toolu_2", "b")},
			claudecli.Handler{Event: func(message.Event) error { events++; return nil }})
		if !errors.Is(err, claudecli.ErrNotResumed) || p.Parked() || events != 0 {
			t.Errorf("%v, parked %t, %d events", err, p.Parked(), events)
		}
	})
}

func TestManyCallsAndManyRounds(t *testing.T) {
	eachScripted(t, func(t *testing.T, p *claudecli.Process, s *scripted) {
		var answers []scriptedAnswer
		for round := range 3 {
			a := scriptedAnswer{stop: "tool_use"}
			for i := range 12 {
				a.calls = append(a.calls, scriptedCall{fmt.Sprintf("toolu_%d_%d", round, i), readTool, `{}`})
			}
			answers = append(answers, a)
		}
		s.script(answers...)
		answer, err := p.Turn(t.Context(), prompt("go"), claudecli.Handler{})
		for round := range 3 {
			if err != nil || len(answer.Calls) != 12 || len(answer.Content) != 13 || answer.Usage.OutputTokens != 50 {
				t.Fatalf("round %d: %+v, calls %v, %v", round, answer.Summary, answer.Calls, err)
			}
			var results []claudecli.ToolResult
			for i := range answer.Calls {
				id := answer.Calls[len(answer.Calls)-1-i]
				results = append(results, result(id, "result of "+id))
			}
			answer, err = p.Resume(t.Context(), withClock, results, claudecli.Handler{})
		}
		if err != nil || answer.StopReason != "end_turn" || p.Parked() || answer.Usage.OutputTokens != 50 || answer.Turn == nil {
			t.Fatalf("the end: %+v, %v", answer.Summary, err)
		}
		sent := s.sent()
		if len(sent) != 4 || strings.Count(sent[3], "result of toolu_") != 36 || p.Turns() != 1 {
			t.Errorf("%d upstream requests, %d turns", len(sent), p.Turns())
		}
	})
}

// TestACallerWhoLeaves does so in the middle of a resumed turn, and of one whose
// prompt is a tool's result.
func TestACallerWhoLeaves(t *testing.T) {
	eachScripted(t, func(t *testing.T, p *claudecli.Process, s *scripted) {
		leave := func(run func(context.Context) error) {
			t.Helper()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			before := len(s.sent())
			go func() {
				for len(s.sent()) == before {
					time.Sleep(time.Millisecond)
				}
				cancel()
			}()
			if err := run(ctx); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		s.script(scriptedAnswer{calls: []scriptedCall{{"toolu_1", readTool, `{}`}}, stop: "tool_use"}, scriptedAnswer{hang: true}, scriptedAnswer{hang: true})
		if _, err := p.Turn(t.Context(), prompt("go"), claudecli.Handler{}); err != nil {
			t.Fatal(err)
		}
		leave(func(ctx context.Context) error {
			_, err := p.Resume(ctx, withClock, []claudecli.ToolResult{result("toolu_1", "x")}, claudecli.Handler{})
			return err
		})
		if err := p.Empty(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.Bind(t.Context(), withClock); err != nil {
			t.Fatal(err)
		}
		err := p.Replay(t.Context(), []message.Turn{
			{Role: message.RoleUser, Content: prompt("go")},
			{Role: message.RoleAssistant, Content: jsontext.Value(`[{"type":"tool_use","id":"toolu_1","name":"Read","input":{}}]`)},
		})
		if err != nil {
			t.Fatal(err)
		}
		leave(func(ctx context.Context) error {
			_, err := p.Turn(ctx, jsontext.Value(`[{"type":"tool_result","tool_use_id":"toolu_1","content":"x"}]`), claudecli.Handler{})
			return err
		})
	})
}

func TestAProcessThatDiesWhileItIsParked(t *testing.T) {
	eachVersionParked(t, func(t *testing.T, p *claudecli.Process, id string) {
		p.Kill()
		answer, err := p.Resume(t.Context(), withClock, []claudecli.ToolResult{result(id, "x")}, claudecli.Handler{})
		if !errors.Is(err, claudecli.ErrDied) || answer.ID != "" || p.Parked() {
			t.Errorf("answer = %+v, %v, parked %t", answer.Summary, err, p.Parked())
		}
	})
}

func eachVersionParked(t *testing.T, test func(t *testing.T, p *claudecli.Process, id string)) {
	t.Helper()
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) {
			s := newScripted(t)
			s.script(scriptedAnswer{calls: []scriptedCall{{"toolu_1", readTool, `{}`}}, stop: "tool_use"})
			p, err := claudecli.Start(claudecli.Options{
				Path: clitest.Path(t, version), Root: t.TempDir(), Model: testModel, Features: bothVersions[version],
				BaseURL: s.URL, APIKey: "sk-simulator",
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Close)
			if err := ready(t, p).Bind(t.Context(), withClock); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Turn(t.Context(), prompt("go"), claudecli.Handler{}); err != nil {
				t.Fatal(err)
			}
			test(t, p, "toolu_1")
		})
	}
}
