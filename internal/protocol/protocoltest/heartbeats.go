package protocoltest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
)

// silentRooms are Rooms whose backend says nothing for a while first.
type silentRooms struct {
	Rooms
	silence time.Duration
}

// Route implements gateway.Router.
func (r *silentRooms) Route(call *gateway.Call) (gateway.Backend, error) {
	_, err := r.Rooms.Route(call)
	return r, err
}

// Generate implements gateway.Backend.
func (r *silentRooms) Generate(ctx context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	time.Sleep(r.silence)
	return r.Rooms.Generate(ctx, call, out)
}

const spoken = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-haiku-5-5\",\"content\":[],\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n" +
	"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n" +
	"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"spoken\"}}\n\n" +
	"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n" +
	"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":1}}\n\n" +
	"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"

// Heartbeats checks that the streams of a protocol show that they live while their
// backend is silent, and that what fails early has a status of its own. register
// makes the protocol's routes on a gateway; body asks for a stream.
func Heartbeats(t *testing.T, register func(g *gateway.Gateway) func(mux *http.ServeMux), path, body string) {
	t.Helper()
	broke := apierror.New(apierror.UpstreamError, "it broke")
	for name, tt := range map[string]struct {
		silence time.Duration
		err     error
		beats   int
		status  int
		holds   string
	}{
		"an answer at once":        {0, nil, 0, http.StatusOK, "spoken"},
		"an answer after a minute": {time.Minute + time.Second, nil, 4, http.StatusOK, "spoken"},
		"a failure at once":        {0, broke, 0, http.StatusBadGateway, "it broke"},
		"a failure after 14 s":     {14 * time.Second, broke, 0, http.StatusBadGateway, "it broke"},
		"a failure after a minute": {time.Minute + time.Second, broke, 4, http.StatusOK, "it broke"},
		"a refusal after a minute": {time.Minute + time.Second, &apierror.Error{Category: apierror.Overloaded, Message: "the queue is full"}, 4, http.StatusOK, "the queue is full"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rooms := &silentRooms{silence: tt.silence}
				if rooms.Err = tt.err; tt.err == nil {
					rooms.Stream = []byte(spoken)
				}
				g := gateway.New(gateway.Options{Authenticator: rooms, Admitter: rooms, Router: rooms, Recorder: rooms, Observer: rooms})
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body))
				r.Header.Set("X-Api-Key", Key)
				w := httptest.NewRecorder()
				Handler(register(g)).ServeHTTP(w, r)
				answer := w.Body.String()
				if w.Code != tt.status || !strings.Contains(answer, tt.holds) {
					t.Errorf("%d %s", w.Code, answer)
				}
				if got := strings.Count(answer, ": keep-alive\n\n"); got != tt.beats || !strings.HasPrefix(answer, strings.Repeat(": keep-alive\n\n", tt.beats)) {
					t.Errorf("%d heartbeats in front, want %d: %s", got, tt.beats, answer)
				}
				if got := w.Result().Header.Get("Content-Type"); (got == "text/event-stream") != (tt.status == http.StatusOK) {
					t.Errorf("Content-Type %s", got)
				}
			})
		})
	}
}
