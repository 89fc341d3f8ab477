package app

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/go-json-experiment/json"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/otlp"
	"claude-code-api-service/internal/otlp/otlptest"
	"claude-code-api-service/internal/simulator"
)

// The context of a caller, whose trace is kept.
const (
	callersTrace  = "0af7651916cd43dd8448eb211c80319c"
	callersSpan   = "b7ad6b7169203331"
	callersParent = "00-" + callersTrace + "-" + callersSpan + "-01"
)

// collected starts a collector, and names it to the services of the test.
func collected(t *testing.T, more ...string) *otlptest.Collector {
	t.Helper()
	c := otlptest.Start(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
	t.Setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
	for _, pair := range more {
		name, value, _ := strings.Cut(pair, "=")
		t.Setenv(name, value)
	}
	return c
}

// send makes a request with further headers.
func send(t *testing.T, a *App, method, path, key, body string, headers ...string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, a.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", key)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(got), response.Header
}

func is(name string) func(s *otlptest.Span) bool {
	return func(s *otlptest.Span) bool { return s.GetName() == name }
}

// TestSpansOfARequest has a caller's trace go on in the service, and from there to the
// upstream, on both backends; what the spans say is what the conventions ask for.
func TestSpansOfARequest(t *testing.T) {
	collector := collected(t, "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test,team=blue", "OTEL_SERVICE_NAME=claude-of-the-test")
	upstream := clitest.NewUpstream(t)
	c := settings(t)
	c.ClaudePath, c.Anthropic.BaseURL = clitest.Path(t, clitest.Versions[0]), upstream.URL()
	a, key := serving(t, c)
	for _, test := range []struct {
		backend string
		stages  []string
	}{
		{"direct", []string{"auth", "decode", "admit", "queue", "bind", "upstream", "record"}},
		{"cli", []string{"auth", "decode", "admit", "queue", "bind", "upstream", "record"}},
	} {
		t.Run(test.backend, func(t *testing.T) {
			const body = `{"model":"haiku","max_tokens":50,"stream":true,"messages":[{"role":"user","content":"hello [[tokens=7]]"}]}`
			status, answer, _ := send(t, a, "POST", "/v1/messages", key, body, "X-Claude-Backend", test.backend, "X-Request-ID", "req_of_"+test.backend,
				"Traceparent", callersParent, "Tracestate", "vendor=1", "Baggage", "tenant=blue", "User-Agent", "tester/1")
			if status != http.StatusOK {
				t.Fatalf("%d %s", status, answer)
			}
			span := collector.Span(t, "span of the request", func(s *otlptest.Span) bool {
				return s.GetKind() == trace.Span_SPAN_KIND_SERVER && s.Attributes["claude_api.backend"] == test.backend
			})
			if span.Trace != callersTrace || span.Parent != callersSpan || span.GetName() != "chat claude-haiku-5-5" || span.GetTraceState() != "vendor=1" {
				t.Errorf("the span is %v", span)
			}
			for name, want := range map[string]any{
				"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-haiku-5-5",
				"gen_ai.response.model": "claude-haiku-5-5", "gen_ai.response.finish_reasons": "end_turn", "gen_ai.usage.output_tokens": int64(7),
				"gen_ai.request.stream": true, "gen_ai.request.max_tokens": int64(50), "claude_api.model.requested": "haiku", "claude_api.project_id": "p", "claude_api.request_id": "req_of_" + test.backend,
				"http.request.method": "POST", "http.route": "/v1/messages", "http.response.status_code": int64(200), "url.scheme": "http",
				"server.address": "127.0.0.1", "client.address": "127.0.0.1", "network.protocol.version": "1.1", "user_agent.original": "tester/1",
			} {
				if got := span.Attributes[name]; got != want {
					t.Errorf("%s is %v, not %v", name, got, want)
				}
			}
			for _, name := range []string{
				"gen_ai.usage.input_tokens", "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_creation.input_tokens", "gen_ai.response.id",
				"gen_ai.response.time_to_first_chunk", "claude_api.cost_micro_usd", "claude_api.key_id", "server.port",
			} {
				if _, there := span.Attributes[name]; !there {
					t.Errorf("it has no %s", name)
				}
			}
			if span.Resource["service.name"] != "claude-of-the-test" || span.Resource["team"] != "blue" || span.Resource["service.version"] != Version {
				t.Errorf("the resource is %v", span.Resource)
			}
			var stages []*otlptest.Span
			collector.Await(t, "stages of the request", func() bool {
				stages = collector.Children(span)
				return slices.Contains(otlptest.Names(stages), "record")
			})
			// A stage that a backend hasn't may be left out.
			for i, name := range otlptest.Names(stages) {
				if !slices.Contains(test.stages, name) || i > 0 && stages[i].GetStartTimeUnixNano() < stages[i-1].GetEndTimeUnixNano() {
					t.Errorf("the stages are %v", otlptest.Names(stages))
				}
			}
			at := slices.IndexFunc(stages, func(s *otlptest.Span) bool { return s.GetName() == "upstream" })
			if at < 0 || len(stages) < 5 {
				t.Fatalf("the stages are %v", otlptest.Names(stages))
			}
			call := stages[at]
			collector.Await(t, "what is within the upstream's", func() bool { return len(collector.Children(call)) == 2 })
			if got := otlptest.Names(collector.Children(call)); !slices.Equal(got, []string{"first_byte", "generate"}) || call.GetKind() != trace.Span_SPAN_KIND_CLIENT {
				t.Errorf("within the upstream's are %v", got)
			}
			last := upstream.Requests()[len(upstream.Requests())-1]
			if got, want := last.Header.Get("Traceparent"), "00-"+callersTrace+"-"+call.ID+"-01"; got != want {
				t.Errorf("the upstream gets the traceparent %q, not %q", got, want)
			}
			if got := last.Header.Get("Tracestate"); got != "vendor=1" {
				t.Errorf("the upstream gets the tracestate %q", got)
			}
			if got := last.Header.Get("Baggage"); test.backend == "direct" && got != "tenant=blue" {
				t.Errorf("the upstream gets the baggage %q", got)
			}
		})
	}
	t.Run("errors", func(t *testing.T) {
		send(t, a, "POST", "/v1/messages", key, `{"model":"haiku","max_tokens":9,"messages":[{"role":"user","content":"x [[error=400]]"}]}`, "X-Claude-Backend", "direct")
		span := collector.Span(t, "span of a refusal", func(s *otlptest.Span) bool { return s.Attributes["http.response.status_code"] == int64(400) })
		if span.Attributes["error.type"] != "bad_request" || span.Parent != "" || span.GetStatus().GetCode() != trace.Status_STATUS_CODE_UNSET {
			t.Errorf("%v", span)
		}
		send(t, a, "POST", "/v1/messages", "cc_wrong", `{}`)
		span = collector.Span(t, "span of a wrong key", func(s *otlptest.Span) bool { return s.Attributes["http.response.status_code"] == int64(401) })
		if span.GetName() != "chat" || span.Attributes["error.type"] != "auth_error" {
			t.Errorf("%v", span)
		}
	})
	t.Run("no model", func(t *testing.T) {
		send(t, a, "GET", "/v1/models", key, "")
		if span := collector.Span(t, "span of a list", is("GET /v1/models")); span.Attributes["http.route"] != "/v1/models" || span.Attributes["gen_ai.operation.name"] != nil {
			t.Errorf("%v", span)
		}
		for range 3 {
			send(t, a, "GET", "/health", "", "")
		}
		send(t, a, "GET", "/", "", "")
		collector.Span(t, "span of the root", is("GET /{$}"))
		if found := collector.Spans(is("GET /health")); len(found) > 0 {
			t.Errorf("probes have %d spans", len(found))
		}
	})
	t.Run("malformed", func(t *testing.T) {
		send(t, a, "GET", "/v1/providers", key, "", "Traceparent", "00-"+callersTrace+"-0000000000000000-01", "Tracestate", "a=b")
		if span := collector.Span(t, "span of its own", is("GET /v1/providers")); span.Trace == callersTrace || span.Parent != "" || span.GetTraceState() != "" {
			t.Errorf("%v", span)
		}
	})
}

// TestMetricsAreSent under the names of the conventions, with the numbers that Prometheus
// reads.
func TestMetricsAreSent(t *testing.T) {
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			collector := collected(t, "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol)
			if protocol == "grpc" {
				t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.Target)
			}
			a, key := serving(t, settings(t))
			for range 3 {
				send(t, a, "POST", "/v1/messages", key, `{"model":"haiku","max_tokens":50,"stream":true,"messages":[{"role":"user","content":"hello [[tokens=7]]"}]}`)
			}
			collector.Span(t, "span", is("chat claude-haiku-5-5"))
			collector.Await(t, "durations", func() bool {
				m := collector.Metric("gen_ai.server.request.duration")
				return m != nil && m.GetHistogram().GetDataPoints()[0].GetCount() == 3
			})
			for name, unit := range map[string]string{
				"gen_ai.server.request.duration": "s", "gen_ai.server.time_to_first_token": "s", "gen_ai.server.time_per_output_token": "s",
				"gen_ai.client.token.usage": "{token}", "claude_api.requests": "1", "claude_api.stage_duration": "s", "claude_api.tokens": "1",
				"claude_api.cost_micro_usd": "1", "claude_api.build_info": "1",
			} {
				if m := collector.Metric(name); m == nil || m.GetUnit() != unit {
					t.Errorf("%s: %v", name, m)
				}
			}
			point := collector.Metric("gen_ai.server.request.duration").GetHistogram().GetDataPoints()[0]
			got := otlptest.Attributes(point.GetAttributes())
			for name, want := range map[string]any{
				"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-haiku-5-5",
				"gen_ai.response.model": "claude-haiku-5-5", "claude_api.backend": "direct", "error.type": nil,
			} {
				if got[name] != want {
					t.Errorf("%s is %v, not %v", name, got[name], want)
				}
			}
			sum := uint64(0)
			for _, n := range point.GetBucketCounts() {
				sum += n
			}
			if sum != 3 || len(point.GetBucketCounts()) != len(point.GetExplicitBounds())+1 || point.GetStartTimeUnixNano() == 0 {
				t.Errorf("%v", point)
			}
			kinds := map[any]uint64{}
			for _, p := range collector.Metric("gen_ai.client.token.usage").GetHistogram().GetDataPoints() {
				kinds[otlptest.Attributes(p.GetAttributes())["gen_ai.token.type"]] += p.GetCount()
			}
			if kinds["input"] != 3 || kinds["output"] != 3 {
				t.Errorf("tokens by type %v", kinds)
			}
		})
	}
}

// TestSpansOfWhatARequestConsistsOf are below the request's, and what is done later is
// linked to it.
func TestSpansOfWhatARequestConsistsOf(t *testing.T) {
	collector := collected(t)
	a, key := serving(t, settings(t))
	t.Run("batch", func(t *testing.T) {
		status, answer, _ := send(t, a, "POST", "/v1/batch", key, `{"model":"haiku","prompts":[{"prompt":"one"},{"prompt":"two"}]}`, "Traceparent", callersParent)
		if status != http.StatusOK {
			t.Fatalf("%d %s", status, answer)
		}
		request := collector.Span(t, "span of a batch", is("POST /v1/batch"))
		var prompts []*otlptest.Span
		collector.Await(t, "spans of the prompts", func() bool { prompts = collector.Children(request); return len(prompts) == 2 })
		if got := otlptest.Names(prompts); !slices.Equal(got, []string{"chat claude-haiku-5-5", "chat claude-haiku-5-5"}) || request.Trace != callersTrace {
			t.Errorf("its parts are %v", got)
		}
	})
	t.Run("later", func(t *testing.T) {
		status, answer, _ := send(t, a, "POST", "/v1/process", key,
			`{"provider":"anthropic","model_name":"haiku","async_processing":true,"messages":[{"role":"user","content":"later"}]}`, "Traceparent", callersParent)
		if status != http.StatusAccepted {
			t.Fatalf("%d %s", status, answer)
		}
		request := collector.Span(t, "span of the request", is("POST /v1/process"))
		run := collector.Span(t, "span that is linked", func(s *otlptest.Span) bool { return len(s.GetLinks()) > 0 })
		link := run.GetLinks()[0]
		if run.Trace == request.Trace || run.Parent != "" || string(link.GetSpanId()) != string(request.GetSpanId()) || string(link.GetTraceId()) != string(request.GetTraceId()) {
			t.Errorf("%v is linked to %v, not to %v", run, link, request)
		}
		if run.Attributes["http.route"] != nil || run.GetName() != "chat claude-haiku-5-5" {
			t.Errorf("%v", run)
		}
	})
	t.Run("batch later", func(t *testing.T) {
		send(t, a, "POST", "/v1/batch", key, `{"model":"haiku","async_processing":true,"prompts":[{"prompt":"one"},{"prompt":"two"}]}`, "X-Request-ID", "req_later")
		request := collector.Span(t, "span of the request", func(s *otlptest.Span) bool {
			return s.GetName() == "POST /v1/batch" && s.Attributes["claude_api.request_id"] == "req_later"
		})
		run := collector.Span(t, "span of the run", is("run /v1/batch"))
		if len(run.GetLinks()) != 1 || string(run.GetLinks()[0].GetSpanId()) != string(request.GetSpanId()) || run.Trace == request.Trace {
			t.Errorf("%v", run)
		}
		collector.Await(t, "spans of both prompts", func() bool { return len(collector.Children(run)) == 2 })
	})
	t.Run("stream", func(t *testing.T) {
		ws, _, err := websocket.Dial(t.Context(), a.URL()+"/v1/stream", &websocket.DialOptions{HTTPHeader: http.Header{"X-Api-Key": {key}, "Traceparent": {callersParent}}}) //nolint:bodyclose // of an upgrade there is none
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := ws.Write(t.Context(), websocket.MessageText, []byte(`{"type":"chat","model":"haiku","messages":[{"role":"user","content":"hi"}]}`)); err != nil {
				t.Fatal(err)
			}
			for done := false; !done; {
				_, text, err := ws.Read(t.Context())
				if err != nil || strings.Contains(string(text), `"type":"error"`) {
					t.Fatalf("%s %v", text, err)
				}
				done = strings.Contains(string(text), `"type":"done"`)
			}
		}
		_ = ws.Close(websocket.StatusNormalClosure, "")
		connection := collector.Span(t, "span of the connection", is("GET /v1/stream"))
		collector.Await(t, "spans of both chats", func() bool { return len(collector.Children(connection)) == 2 })
		if connection.Parent != callersSpan {
			t.Errorf("%v", connection)
		}
	})
}

// TestSpansOfATask has each of its calls below it, tells its tools of it, and passes its
// trace on to the upstream.
func TestSpansOfATask(t *testing.T) {
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) {
			collector := collected(t)
			a, upstream, _ := working(t, version, nil)
			key, _, err := a.Keys().Create(t.Context(), apikey.Create{ProjectID: "alpha", Profile: apikey.ProfileEnterprise})
			if err != nil {
				t.Fatal(err)
			}
			const show = `[[tool=Bash input={\"command\":\"echo parent=$TRACEPARENT state=$TRACESTATE\",\"description\":\"d\"}]] [[then]] [[text=done]]`
			status, answer, _ := send(t, a, "POST", "/v1/task", key, `{"description":"`+show+`","model":"haiku","allow_tools":["Bash"]}`, "Traceparent", callersParent, "Tracestate", "vendor=1")
			if status != http.StatusOK || !strings.Contains(answer, `"status":"completed"`) {
				t.Fatalf("%d %s", status, answer)
			}
			run := collector.Span(t, "span of the task", is("invoke_agent"))
			if run.Trace != callersTrace || run.Parent != callersSpan || run.Attributes["gen_ai.operation.name"] != "invoke_agent" || run.Attributes["http.route"] != "/v1/task" {
				t.Errorf("%v", run)
			}
			var calls []*otlptest.Span
			collector.Await(t, "calls of the task", func() bool {
				calls = collector.Spans(func(s *otlptest.Span) bool {
					return s.Parent == run.ID && strings.HasPrefix(s.GetName(), "chat ")
				})
				return len(calls) >= 2
			})
			ids := map[string]bool{}
			for _, call := range calls {
				collector.Await(t, "stages of a call", func() bool { return slices.Contains(otlptest.Names(collector.Children(call)), "record") })
				for _, s := range collector.Children(call) {
					ids[s.ID] = s.GetName() == "upstream"
				}
			}
			results := ""
			for _, r := range upstream.Requests() {
				if r.Path != "/v1/messages" {
					continue
				}
				parent := strings.Split(r.Header.Get("Traceparent"), "-")
				if len(parent) != 4 || parent[1] != callersTrace || !ids[parent[2]] {
					t.Errorf("the upstream gets %v, and there are %v", r.Header.Get("Traceparent"), ids)
				}
				results += string(r.Body)
			}
			if want := "parent=00-" + callersTrace + "-" + run.ID + "-01 state=vendor=1"; !strings.Contains(results, want) {
				t.Errorf("its tool isn't told %s", want)
			}
			// What waits for its turn is linked to who asked for it.
			_, answer, _ = send(t, a, "POST", "/v1/task", key, `{"description":"hello","model":"haiku","async":true}`)
			var made struct {
				ID string `json:"id"`
			}
			if err := json.Unmarshal([]byte(answer), &made); err != nil || made.ID == "" {
				t.Fatalf("%s %v", answer, err)
			}
			later := collector.Span(t, "span of the queued task", func(s *otlptest.Span) bool { return s.GetName() == "invoke_agent" && len(s.GetLinks()) > 0 })
			if asked := collector.Span(t, "span of its request", is("POST /v1/task")); string(later.GetLinks()[0].GetSpanId()) != string(asked.GetSpanId()) {
				t.Errorf("%v", later)
			}
		})
	}
}

// TestTheToolsOfASession are told of each turn's trace, on one process.
func TestTheToolsOfASession(t *testing.T) {
	collector := collected(t)
	a, upstream, _ := working(t, clitest.Versions[0], nil)
	key := newKey(t, a, apikey.ProfileEnterprise)
	id := made(t, a, key, "/v1/sessions", `{"model":"haiku","allowed_tools":["Bash"]}`)
	const show = `[[tool=Bash input={\"command\":\"echo parent=$TRACEPARENT\",\"description\":\"d\"}]] [[then]] [[text=done]]`
	for _, traceID := range []string{callersTrace, strings.Repeat("1", 32)} {
		status, answer, _ := send(t, a, "POST", "/v1/chat/completions", key, `{"model":"haiku","session_id":"`+id+`","messages":[{"role":"user","content":"`+show+`"}]}`,
			"Traceparent", "00-"+traceID+"-"+callersSpan+"-01")
		if status != http.StatusOK {
			t.Fatalf("%d %s", status, answer)
		}
		requests := upstream.Requests()
		if last := string(requests[len(requests)-1].Body); !strings.Contains(last, "parent=00-"+traceID+"-") {
			t.Errorf("its tool isn't told of %s", traceID)
		}
	}
	collector.Span(t, "span of the session", func(s *otlptest.Span) bool {
		return s.GetName() == "invoke_agent" && s.Attributes["gen_ai.conversation.id"] == id
	})
}

// TestWordsAreInNoSpan unless the operator wants them there, and then not all of a long
// text.
func TestWordsAreInNoSpan(t *testing.T) {
	const planted, answered, instructed = "planted-words-of-a-prompt", "planted-words-of-an-answer", "planted-words-of-a-system-prompt"
	for _, wanted := range []string{"", "true"} {
		t.Run("wanted="+wanted, func(t *testing.T) {
			// What comes in time comes with the end of the service.
			collector := collected(t, "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="+wanted, "OTEL_BSP_SCHEDULE_DELAY=600000")
			upstream := clitest.NewUpstream(t)
			c := settings(t)
			c.ClaudePath, c.Anthropic.BaseURL = clitest.Path(t, clitest.Versions[0]), upstream.URL()
			a, key := serving(t, c)
			long := strings.Repeat("x", 100_000)
			for _, backend := range []string{"direct", "cli"} {
				for _, stream := range []string{"true", "false"} {
					body := `{"model":"haiku","max_tokens":50,"stream":` + stream + `,"system":"` + instructed + `","messages":[{"role":"user","content":"` + long + `"},` +
						`{"role":"assistant","content":"ok"},{"role":"user","content":"` + planted + ` [[text=` + answered + `]]"}]}`
					if status, answer, _ := send(t, a, "POST", "/v1/messages", key, body, "X-Claude-Backend", backend); status != http.StatusOK || !strings.Contains(answer, answered) {
						t.Fatalf("%d %s", status, answer)
					}
				}
			}
			send(t, a, "POST", "/v1/messages", key, `{"model":"haiku","max_tokens":9,"`+planted+`":1,"messages":[]}`)
			send(t, a, "GET", "/v1/"+planted, key, "")
			if err := a.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			spans := collector.Spans(func(s *otlptest.Span) bool {
				return s.GetName() == "chat claude-haiku-5-5" && s.Attributes["error.type"] == nil
			})
			if len(spans) != 4 {
				t.Fatalf("%d spans: %s", len(spans), collector.Tree())
			}
			if wanted == "" {
				for _, word := range []string{planted, answered, instructed, "xxxxxxxxxx"} {
					if strings.Contains(collector.Raw(), word) {
						t.Errorf("%q was sent", word)
					}
				}
				return
			}
			for _, s := range spans {
				input, _ := s.Attributes["gen_ai.input.messages"].(string)
				output, _ := s.Attributes["gen_ai.output.messages"].(string)
				system, _ := s.Attributes["gen_ai.system_instructions"].(string)
				var turns []struct {
					Role   string
					Parts  []map[string]any
					Finish string `json:"finish_reason"`
				}
				if err := json.Unmarshal([]byte(input), &turns, json.MatchCaseInsensitiveNames(true)); err != nil || len(turns) != 3 || turns[2].Role != "user" || len(input) > 20_000 {
					t.Errorf("input %.200s, %d bytes, %v", input, len(input), err)
				}
				if !strings.Contains(input, planted) || !strings.Contains(output, answered) || !strings.Contains(system, instructed) || !strings.Contains(output, `"finish_reason":"end_turn"`) {
					t.Errorf("input %.100s, output %s, system %s", input, output, system)
				}
			}
		})
	}
}

// TestACollectorThatTakesNothing slows and fails no request, and the end of the service
// doesn't wait for it for long.
func TestACollectorThatTakesNothing(t *testing.T) {
	hanging, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hanging.Close() }()
	refusing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = refusing.Close()
	for name, address := range map[string]string{"hanging": hanging.Addr().String(), "refusing": refusing.Addr().String()} {
		for _, protocol := range []string{"http/protobuf", "grpc"} {
			t.Run(name+" "+protocol, func(t *testing.T) {
				const secret = "planted-token-of-the-collector"
				t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+address)
				t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
				t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20"+secret)
				t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
				t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
				t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
				t.Setenv("OTEL_METRIC_EXPORT_INTERVAL", "10")
				var log lines
				a, err := New(t.Context(), settings(t), slog.New(slog.NewJSONHandler(&log, nil)))
				if err != nil {
					t.Fatal(err)
				}
				if err := a.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
				key, _, err := a.Keys().Create(t.Context(), apikey.Create{ProjectID: "p", RequestsPerMinute: new(10_000)})
				if err != nil {
					t.Fatal(err)
				}
				slowest := time.Duration(0)
				for range 50 {
					began := time.Now()
					if status, answer, _ := send(t, a, "POST", "/v1/messages", key, `{"model":"haiku","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}`); status != http.StatusOK {
						t.Fatalf("%d %s", status, answer)
					}
					slowest = max(slowest, time.Since(began))
				}
				if slowest > 5*time.Second { // the exporters' own timeout is 10
					t.Errorf("a request took %v", slowest)
				}
				began := time.Now()
				if err := a.Stop(t.Context()); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took > otlp.CloseTimeout+5*time.Second {
					t.Errorf("the end took %v", took)
				}
				if strings.Contains(log.String(), secret) {
					t.Errorf("the collector's token is in the log: %s", log.String())
				}
			})
		}
	}
}

// TestWithoutACollector the caller's context is in the log, and goes on as it came.
func TestWithoutACollector(t *testing.T) {
	for name, variables := range map[string][]string{
		"unset":    {"OTEL_EXPORTER_OTLP_ENDPOINT="},
		"disabled": {"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_SDK_DISABLED=true"},
		"none":     {"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_TRACES_EXPORTER=none", "OTEL_METRICS_EXPORTER=none"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, pair := range variables {
				name, value, _ := strings.Cut(pair, "=")
				t.Setenv(name, value)
			}
			upstream := simulator.New(simulator.Options{KeepBodies: 10})
			url, err := upstream.Start("127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer upstream.Close()
			c := settings(t)
			c.Anthropic.BaseURL = url
			var log lines
			a, err := New(t.Context(), c, slog.New(slog.NewJSONHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = a.Stop(context.Background()) }()
			if err := a.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			key, about, err := a.Keys().Create(t.Context(), apikey.Create{ProjectID: "p"})
			if err != nil {
				t.Fatal(err)
			}
			const body = `{"model":"haiku","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}`
			send(t, a, "POST", "/v1/messages", key, body, "Traceparent", callersParent, "Tracestate", "vendor=1", "Baggage", "user=jane")
			send(t, a, "POST", "/v1/messages", key, body)
			requests := upstream.Requests()
			if h := requests[0].Header; h.Get("Traceparent") != callersParent || h.Get("Tracestate") != "vendor=1" || h.Get("Baggage") != "" {
				t.Errorf("the upstream gets %v", h)
			}
			if h := requests[1].Header; h.Get("Traceparent") != "" {
				t.Errorf("the upstream gets %v", h)
			}
			if err := a.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			access := log.with(t, `"msg":"request"`)
			// A line is written behind the answer: another may come before it.
			slices.SortFunc(access, func(a, _ map[string]any) int {
				if a["trace_id"] != nil {
					return -1
				}
				return 1
			})
			if len(access) != 2 || access[0]["trace_id"] != callersTrace || access[0]["span_id"] != callersSpan || access[1]["trace_id"] != nil {
				t.Errorf("the log has %v", access)
			}
			for _, line := range access {
				if line["key_id"] != about.ID || line["project_id"] != "p" || line["request_id"] == nil {
					t.Errorf("the log has %v", line)
				}
			}
		})
	}
}

// TestLinesOfARequest are found by its trace, also those of what went wrong.
func TestLinesOfARequest(t *testing.T) {
	collected(t)
	var log lines
	c := settings(t)
	c.SDKMaxRetries = 1
	a, err := New(t.Context(), c, slog.New(slog.NewJSONHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Stop(context.Background()) }()
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	key, _, err := a.Keys().Create(t.Context(), apikey.Create{ProjectID: "p"})
	if err != nil {
		t.Fatal(err)
	}
	send(t, a, "POST", "/v1/messages", key, `{"model":"haiku","max_tokens":9,"messages":[{"role":"user","content":"x [[error=500]]"}]}`, "X-Request-ID", "req_broken", "Traceparent", callersParent)
	if err := a.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	found := log.with(t, "req_broken")
	var texts []string
	for _, line := range found {
		texts = append(texts, line["msg"].(string))
		if line["trace_id"] != callersTrace || line["span_id"] == callersSpan || line["span_id"] == nil {
			t.Errorf("%v", line)
		}
	}
	slices.Sort(texts)
	if want := []string{"repeat upstream call", "request", "request failed"}; !slices.Equal(texts, want) {
		t.Errorf("the log has %q, not %q", texts, want)
	}
	if stray := log.with(t, callersTrace); len(stray) != len(found) {
		t.Errorf("lines without the request's id: %v", stray)
	}
}

// TestMistakenVariables name themselves, and not what they hold.
func TestMistakenVariables(t *testing.T) {
	const secret = "planted-token-of-the-collector"
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318 " + secret, "OTEL_EXPORTER_OTLP_HEADERS": secret, "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "a:b=" + secret,
		"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", "OTEL_TRACES_SAMPLER": "sometimes", "OTEL_SDK_DISABLED": "perhaps", "OTEL_PROPAGATORS": "b3",
		"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "some", "OTEL_RESOURCE_ATTRIBUTES": secret,
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
			t.Setenv(name, value)
			a, err := New(t.Context(), settings(t), silent())
			if err == nil {
				_ = a.Stop(t.Context())
				t.Fatal("it was made")
			}
			if !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), secret) {
				t.Errorf("%v", err)
			}
		})
	}
}

// lines is a log in JSON.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// with gives the lines that hold a text.
func (l *lines) with(t *testing.T, text string) (found []map[string]any) {
	t.Helper()
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, text) {
			var members map[string]any
			if err := json.Unmarshal([]byte(line), &members); err != nil {
				t.Fatal(err)
			}
			found = append(found, members)
		}
	}
	return found
}
