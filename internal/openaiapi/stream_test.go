package openaiapi_test

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

const streamed = `{"model":"haiku","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hi"}]}`

// summary reads what a backend knows at the end from the stream itself.
func summary(t testing.TB, stream []byte) gateway.Result {
	t.Helper()
	var result gateway.Result
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

// Each .sse file is what the Messages API streams, and the .txt file beside it
// what a client of the Chat Completions API gets for it; in JSON mode where the
// name begins with json_.
func TestGoldenStreams(t *testing.T) {
	files, err := filepath.Glob("testdata/stream/*.sse")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".sse"), func(t *testing.T) {
			stream, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			rooms := &protocoltest.Rooms{Stream: stream, Result: summary(t, stream)}
			request := streamed
			if strings.HasPrefix(filepath.Base(file), "json_") {
				request = strings.Replace(streamed, "{", `{"response_format":{"type":"json_object"},`, 1)
			}
			answer := protocoltest.Post(t, serve(t, rooms), request)
			if answer.Status != http.StatusOK || !strings.HasSuffix(answer.Body, "data: [DONE]\n\n") {
				t.Fatalf("%d %s", answer.Status, answer.Body)
			}
			golden := strings.TrimSuffix(file, ".sse") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(answer.Body), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if answer.Body != string(want) {
				t.Errorf("got\n%s\nwant\n%s", answer.Body, want)
			}
			if got := answer.Trailer.Get("Server-Timing"); !strings.Contains(got, "total;dur=") {
				t.Errorf("trailer = %q", got)
			}
		})
	}
}

func golden(t testing.TB, name string) []byte {
	t.Helper()
	stream, err := os.ReadFile("testdata/stream/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestStreamWithoutUsage(t *testing.T) {
	stream := golden(t, "text.sse")
	rooms := &protocoltest.Rooms{Stream: stream, Result: summary(t, stream)}
	answer := protocoltest.Post(t, serve(t, rooms), strings.Replace(streamed, `"include_usage":true`, "", 1))
	if strings.Contains(answer.Body, "usage") || !strings.HasSuffix(answer.Body, "\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n") {
		t.Errorf("body = %s", answer.Body)
	}
}

func TestStreamErrors(t *testing.T) {
	text := string(golden(t, "text.sse"))
	begun := text[:strings.Index(text, "event: content_block_stop")]
	for _, tt := range []struct {
		name   string
		rooms  *protocoltest.Rooms
		status int
		suffix string
	}{
		{"inside", &protocoltest.Rooms{Stream: []byte(begun), Err: apierror.New(apierror.ConnectionError, "the upstream hung up")}, 200,
			"data: {\"error\":{\"message\":\"the upstream hung up\",\"type\":\"server_error\",\"param\":null,\"code\":\"connection_error\"}}\n\n"},
		{"before", &protocoltest.Rooms{Err: apierror.New(apierror.Overloaded, "full")}, 503,
			`{"error":{"message":"full","type":"server_error","param":null,"code":"overloaded"}}`},
		{"not recorded", &protocoltest.Rooms{Stream: []byte(text), RecordErr: errors.New("disk full")}, 200,
			"data: {\"error\":{\"message\":\"the answer couldn't be recorded\",\"type\":\"server_error\",\"param\":null,\"code\":\"internal\"}}\n\n"},
		{"broken event", &protocoltest.Rooms{Stream: []byte(begun + "event: content_block_delta\ndata: {\"delta\"\n\n")}, 200,
			"data: {\"error\":{\"message\":\"the upstream's stream couldn't be read\",\"type\":\"server_error\",\"param\":null,\"code\":\"upstream_error\"}}\n\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer := protocoltest.Post(t, serve(t, tt.rooms), streamed)
			if answer.Status != tt.status || !strings.HasSuffix(answer.Body, tt.suffix) {
				t.Errorf("%d %s", answer.Status, answer.Body)
			}
			if strings.Contains(answer.Body, "[DONE]") || strings.Contains(answer.Body, `"finish_reason":"`) {
				t.Errorf("a failed stream looks complete: %s", answer.Body)
			}
		})
	}
}

func TestStreamWithoutEvents(t *testing.T) {
	rooms := &protocoltest.Rooms{Result: gateway.Result{Summary: message.Summary{ID: "msg_9", StopReason: "end_turn"}}}
	answer := protocoltest.Post(t, serve(t, rooms), streamed)
	if answer.Status != http.StatusOK || !strings.Contains(answer.Body, `"id":"chatcmpl-9"`) || !strings.HasSuffix(answer.Body, "data: [DONE]\n\n") {
		t.Errorf("%d %s", answer.Status, answer.Body)
	}
}
