package openaiapi_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/openaiapi"
	"claude-code-api-service/internal/protocol/protocoltest"
)

// hanging is a backend that begins a stream and never ends it.
type hanging struct{ *protocoltest.Rooms }

func (r hanging) Route(*gateway.Call) (gateway.Backend, error) { return r, nil }

func (r hanging) Generate(ctx context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	if call.Request.Stream {
		err := out.Event(message.Event{Type: message.EventMessageStart, Data: []byte(`{"message":{"id":"msg_1","model":"m"}}`)})
		if err != nil {
			return gateway.Result{}, err
		}
	}
	<-ctx.Done()
	return gateway.Result{}, ctx.Err()
}

func TestTimeout(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		status     int
		want       string
		after      time.Duration
	}{
		{"whole", `{"timeout":30.5,` + plain[1:], 504, `{"error":{"message":"the request took longer than allowed","type":"server_error","param":null,"code":"timeout"}}`, 30_500 * time.Millisecond},
		{"stream", `{"timeout":2,` + streamed[1:], 200, "data: {\"error\":{\"message\":\"the request took longer than allowed\",\"type\":\"server_error\",\"param\":null,\"code\":\"timeout\"}}\n\n", 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rooms := hanging{&protocoltest.Rooms{}}
				h := protocoltest.Handler(openaiapi.New(openaiapi.Options{Gateway: gateway.New(gateway.Options{
					Authenticator: rooms, Admitter: rooms, Router: rooms, Recorder: rooms, Observer: rooms,
				})}).Register)
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/chat/completions", strings.NewReader(tt.body))
				r.Header.Set("X-Api-Key", protocoltest.Key)
				w := httptest.NewRecorder()
				start := time.Now()
				h.ServeHTTP(w, r)
				if got := time.Since(start); got != tt.after {
					t.Errorf("it took %v, want %v", got, tt.after)
				}
				if w.Code != tt.status || !strings.HasSuffix(w.Body.String(), tt.want) {
					t.Errorf("%d %s", w.Code, w.Body)
				}
				if entries := rooms.Entries(); len(entries) != 1 || entries[0].Status != 504 || entries[0].Category != "timeout" {
					t.Errorf("recorded %+v", entries)
				}
			})
		})
	}
}
