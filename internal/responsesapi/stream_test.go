package responsesapi_test

import (
	"errors"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol/protocoltest"
	"claude-code-api-service/internal/sse"
)

var update = flag.Bool("update", false, "write the golden files anew")

const streamed = `{"model":"haiku","stream":true,"input":"hi"}`

func golden(t testing.TB, name string) []byte {
	t.Helper()
	stream, err := os.ReadFile("testdata/stream/" + name + ".sse")
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

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
// what a client of the Responses API gets for it, with R for the random ids.
func TestGoldenStreams(t *testing.T) {
	files, err := filepath.Glob("testdata/stream/*.sse")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".sse")
		t.Run(name, func(t *testing.T) {
			stream := golden(t, name)
			f := serve(t, &protocoltest.Rooms{Stream: stream, Result: summary(t, stream)}, nil)
			request := streamed
			if name == "thinking" {
				request = strings.Replace(streamed, "{", `{"include":["reasoning.encrypted_content"],`, 1)
			}
			answer := protocoltest.Post(t, f.url, request)
			if answer.Status != http.StatusOK {
				t.Fatalf("%d %s", answer.Status, answer.Body)
			}
			got, path := stable(answer.Body), strings.TrimSuffix(file, ".sse")+".txt"
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if timing := answer.Trailer.Get("Server-Timing"); !strings.Contains(timing, "total;dur=") {
				t.Errorf("trailer = %q", timing)
			}
			// What is kept is what the last event holds.
			kept := f.get(t, "/"+id(t, answer.Body)).Body
			if !strings.Contains(answer.Body, `,"response":`+kept+`,"sequence_number":`) {
				t.Errorf("kept is %s", kept)
			}
		})
	}
}

func TestStreamErrors(t *testing.T) {
	text := string(golden(t, "text"))
	begun := text[:strings.Index(text, "event: content_block_stop")]
	for _, tt := range []struct {
		name   string
		rooms  *protocoltest.Rooms
		broken bool
		status int
		want   string
	}{
		{"inside", &protocoltest.Rooms{Stream: []byte(begun), Err: apierror.New(apierror.ConnectionError, "the upstream hung up")}, false, 200,
			`"code":"connection_error","message":"the upstream hung up","param":null`},
		{"before", &protocoltest.Rooms{Err: apierror.New(apierror.Overloaded, "full")}, false, 503,
			`{"error":{"message":"full","type":"server_error","param":null,"code":"overloaded"}}`},
		{"not recorded", &protocoltest.Rooms{Stream: []byte(text), RecordErr: errors.New("disk full")}, false, 200, `"message":"the answer couldn't be recorded"`},
		{"not kept", &protocoltest.Rooms{Stream: []byte(text)}, true, 200, `"message":"the response couldn't be kept`},
		{"broken event", &protocoltest.Rooms{Stream: []byte(begun + "event: content_block_delta\ndata: {\"delta\"\n\n")}, false, 200, `"message":"the upstream's stream couldn't be read"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := serve(t, tt.rooms, nil)
			if tt.broken {
				f = serve(t, tt.rooms, broken{})
			}
			answer := protocoltest.Post(t, f.url, streamed)
			if answer.Status != tt.status || !strings.Contains(answer.Body, tt.want) {
				t.Errorf("%d %s", answer.Status, answer.Body)
			}
			if strings.Contains(answer.Body, "response.completed") {
				t.Errorf("a failed stream looks complete: %s", answer.Body)
			}
			if tt.status != http.StatusOK {
				return
			}
			if !strings.Contains(answer.Body, "event: error\n") || !strings.Contains(answer.Body, "event: response.failed\n") || !strings.Contains(answer.Body, `"status":"failed"`) {
				t.Errorf("the stream doesn't end as failed: %s", answer.Body)
			}
			// The numbers rise by one, whatever fails.
			n := 0
			for line := range strings.Lines(answer.Body) {
				if strings.HasPrefix(line, "data: ") {
					if !strings.Contains(line, `,"sequence_number":`+strconv.Itoa(n)+"}") {
						t.Errorf("event %d is %s", n, line)
					}
					n++
				}
			}
			if !tt.broken && f.get(t, "/"+id(t, answer.Body)).Status != http.StatusNotFound {
				t.Error("a failed response was kept")
			}
		})
	}
}

func TestStreamWithoutEvents(t *testing.T) {
	rooms := &protocoltest.Rooms{Result: gateway.Result{Summary: message.Summary{StopReason: "end_turn"}}}
	answer := protocoltest.Post(t, serve(t, rooms, nil).url, streamed)
	if answer.Status != http.StatusOK || !strings.Contains(answer.Body, "event: response.created\n") || !strings.Contains(answer.Body, `"status":"completed"`) {
		t.Errorf("%d %s", answer.Status, answer.Body)
	}
}
