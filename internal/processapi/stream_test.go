package processapi_test

import (
	"errors"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol/protocoltest"
	"claude-code-api-service/internal/sse"
)

var update = flag.Bool("update", false, "write the golden files anew")

const streamed = `{"provider":"openai","model_name":"gpt-4o","user_message":"hi","memory":true,"additional_params":{"stream":true}}`

// summary reads what a backend knows at the end from the stream itself.
func summary(t testing.TB, stream []byte) gateway.Result {
	t.Helper()
	cost := int64(2_500)
	result := gateway.Result{CostMicroUSD: &cost}
	for events := sse.NewReader(strings.NewReader(string(stream)), 1<<20); ; {
		frame, err := events.Next()
		if err != nil {
			return result
		}
		if err := result.Observe(message.Event{Type: string(frame.Event), Data: frame.Data}); err != nil {
			t.Fatal(err)
		}
	}
}

// golden reads a file of testdata/stream.
func golden(t testing.TB, name string) []byte {
	t.Helper()
	stream, err := os.ReadFile(filepath.Join("testdata/stream", name))
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// Each .sse file is what the Messages API streams, and the .txt file beside it
// what a client of POST /v1/process gets for it; in JSON mode where the name
// begins with json_.
func TestGoldenStreams(t *testing.T) {
	files, err := filepath.Glob("testdata/stream/*.sse")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".sse")
		t.Run(name, func(t *testing.T) {
			stream := golden(t, name+".sse")
			rooms := &protocoltest.Rooms{Stream: stream, Result: summary(t, stream)}
			request := streamed
			if strings.HasPrefix(name, "json_") {
				request = strings.Replace(streamed, "{", `{"response_format":{"type":"json_object"},`, 1)
			}
			answer := protocoltest.Post(t, serve(t, rooms), request)
			if answer.Status != http.StatusOK {
				t.Fatalf("%d %s", answer.Status, answer.Body)
			}
			got := measured.ReplaceAllString(answer.Body, `"processing_time":T`)
			if *update {
				if err := os.WriteFile("testdata/stream/"+name+".txt", []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if want := string(golden(t, name+".txt")); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestStreamHeader(t *testing.T) {
	rooms := &protocoltest.Rooms{Stream: golden(t, "text.sse")}
	answer := protocoltest.Post(t, serve(t, rooms), streamed)
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "X-Claude-Backend": "cli", "X-Claude-Warnings": "memory: has no effect here", "X-Request-Id": protocoltest.RequestID,
	} {
		if got := answer.Header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if !strings.Contains(answer.Trailer.Get("Server-Timing"), "total;") {
		t.Errorf("trailer = %v", answer.Trailer)
	}
	if request := rooms.Calls()[0].Request; !request.Stream {
		t.Errorf("the request isn't a stream: %s", request.Body())
	}
}

func TestStreamErrors(t *testing.T) {
	begun := string(golden(t, "text.sse"))
	begun = begun[:strings.Index(begun, "event: content_block_stop")]
	for _, tt := range []struct {
		name   string
		rooms  *protocoltest.Rooms
		status int
		suffix string
	}{
		{"before the first event", &protocoltest.Rooms{Err: apierror.New(apierror.Overloaded, "full")}, 503,
			`{"detail":"full","error":{"message":"full","type":"overloaded","param":null,"code":"overloaded"}}`},
		{"behind the first", &protocoltest.Rooms{Stream: []byte(begun), Err: apierror.New(apierror.CLIError, "the CLI died")}, 200,
			"event: error\ndata: {\"type\":\"error\",\"detail\":\"the CLI died\",\"error\":{\"message\":\"the CLI died\",\"type\":\"cli_error\",\"param\":null,\"code\":\"cli_error\"}}\n\n"},
		{"not recorded", &protocoltest.Rooms{Stream: golden(t, "text.sse"), RecordErr: errors.New("disk full")}, 200,
			"event: error\ndata: {\"type\":\"error\",\"detail\":\"the answer couldn't be recorded\",\"error\":{\"message\":\"the answer couldn't be recorded\",\"type\":\"internal\",\"param\":null,\"code\":\"internal\"}}\n\n"},
		{"broken event", &protocoltest.Rooms{Stream: []byte(begun + "event: content_block_delta\ndata: {\"delta\"\n\n")}, 200,
			"\"type\":\"upstream_error\",\"param\":null,\"code\":\"upstream_error\"}}\n\n"},
		{"budget", &protocoltest.Rooms{AdmitErr: apierror.New(apierror.BudgetExceeded, "spent")}, 403, `"code":"budget_exceeded"}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer := protocoltest.Post(t, serve(t, tt.rooms), streamed)
			if answer.Status != tt.status || !strings.HasSuffix(answer.Body, tt.suffix) {
				t.Errorf("%d %s", answer.Status, answer.Body)
			}
			if strings.Contains(answer.Body, "event: done") {
				t.Errorf("a failed stream looks complete: %s", answer.Body)
			}
		})
	}
}

func TestStreamWithoutEvents(t *testing.T) {
	rooms := &protocoltest.Rooms{Result: gateway.Result{Summary: message.Summary{Model: "m", StopReason: "end_turn"}}}
	answer := protocoltest.Post(t, serve(t, rooms), streamed)
	if answer.Status != http.StatusOK || !strings.HasPrefix(answer.Body, "event: done\n") || !strings.Contains(answer.Body, `"actual_model":"m"`) {
		t.Errorf("%d %s", answer.Status, answer.Body)
	}
}
