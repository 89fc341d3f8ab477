package streamapi_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol/protocoltest"
	"claude-code-api-service/internal/sse"
)

var update = flag.Bool("update", false, "write the golden files anew")

// summary reads what a backend knows at the end from the stream itself.
func summary(t testing.TB, stream []byte) gateway.Result {
	t.Helper()
	cost := int64(1_234)
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

// Each .sse file is what the Messages API streams, and the .txt file beside it
// the messages that a client gets for it, one a line.
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
			_, server := serve(t, rooms.Gateway())
			c := enter(t, server)
			c.send(`{"type":"chat","id":"c1","messages":[{"role":"user","content":"hi"}],"seed":1}`)
			var got strings.Builder
			for last := ""; !strings.HasPrefix(last, `{"type":"done"`); {
				last = c.receive()
				got.WriteString(last + "\n")
			}
			golden := strings.TrimSuffix(file, ".sse") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got.String(), want)
			}
		})
	}
}

func TestStreamEnds(t *testing.T) {
	const delta = "event: content_block_delta\ndata: {\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n"
	const usage = `"usage":{"input_tokens":0,"output_tokens":0,"total_tokens":0,"cache_read_input_tokens":0,"cache_creation_input_tokens":0}`
	tests := []struct {
		name  string
		rooms *protocoltest.Rooms
		want  []string
	}{
		{
			"without a price", &protocoltest.Rooms{Stream: []byte(delta), Backend: "direct"},
			[]string{
				`{"type":"token","content":"a"}`,
				`{"type":"done",` + usage + `,"cost":null,"model":"claude-haiku-5-5","stop_reason":null,"finish_reason":"stop","backend":"direct","request_id":"req_test-1"}`,
			},
		},
		{
			"refused by the limits", &protocoltest.Rooms{AdmitErr: limited()},
			[]string{`{"type":"error","detail":"slow down","error":{"message":"slow down","type":"rate_limited","param":null,"code":"rate_limited"},"retry_after":2,"request_id":"req_test-1"}`},
		},
		{
			"broken off", &protocoltest.Rooms{Stream: []byte(delta), Err: errUpstream()},
			[]string{
				`{"type":"token","content":"a"}`,
				`{"type":"error","detail":"the upstream hung up","error":{"message":"the upstream hung up","type":"connection_error","param":null,"code":"connection_error"},"request_id":"req_test-1"}`,
			},
		},
		{
			"not recorded", &protocoltest.Rooms{Stream: []byte(delta), RecordErr: os.ErrClosed},
			[]string{
				`{"type":"token","content":"a"}`,
				`{"type":"error","detail":"the answer couldn't be recorded","error":{"message":"the answer couldn't be recorded","type":"internal","param":null,"code":"internal"},"request_id":"req_test-1"}`,
			},
		},
		{
			"an event that can't be read", &protocoltest.Rooms{Stream: []byte(strings.ReplaceAll(delta, "}}", ""))},
			[]string{`{"type":"error","detail":"the upstream's stream couldn't be read","error":{"message":"the upstream's stream couldn't be read","type":"upstream_error","param":null,"code":"upstream_error"},"request_id":"req_test-1"}`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, server := serve(t, tt.rooms.Gateway())
			c := enter(t, server)
			c.send(chat)
			for _, want := range tt.want {
				c.expect(want)
			}
			// The connection takes the next one.
			c.send(`{"type":"ping"}`)
			c.expect(`{"type":"pong"}`)
			c.send(chat)
			if last := c.receive(); strings.Contains(last, "busy") {
				t.Errorf("the next chat: %s", last)
			}
		})
	}
}

// A panic on a chat's own goroutine isn't net/http's to catch.
func TestPanic(t *testing.T) {
	rooms := &panicking{&protocoltest.Rooms{}}
	_, server := serve(t, gateway.New(gateway.Options{Authenticator: rooms, Admitter: rooms, Router: rooms, Recorder: rooms, Observer: rooms}))
	c := enter(t, server)
	c.send(chat)
	c.expectError("internal")
	c.send(`{"type":"ping"}`)
	c.expect(`{"type":"pong"}`)
}

type panicking struct{ *protocoltest.Rooms }

func (p *panicking) Record(context.Context, gateway.Entry) error { panic("planted") }
