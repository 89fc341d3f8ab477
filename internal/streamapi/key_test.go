package streamapi_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol/protocoltest"
)

// guarded are rooms with another authenticator.
type guarded struct {
	*protocoltest.Rooms
	caller  *gateway.Caller
	err     error
	address chan string
}

func (g *guarded) Authenticate(_ context.Context, _, address string) (*gateway.Caller, error) {
	g.address <- address
	return g.caller, g.err
}

func TestKeysThatMayNotChat(t *testing.T) {
	for _, tt := range []struct {
		name   string
		rooms  guarded
		status string // of the upgrade
		code   string
		closed websocket.StatusCode
	}{
		{"an admin key", guarded{caller: &gateway.Caller{KeyID: "k", Admin: true}}, "403", "admin_key", 4401},
		{
			"too many attempts", guarded{err: &apierror.Error{Category: apierror.RateLimited, Message: "too many", RetryAfter: time.Second}},
			"429", "rate_limited", websocket.StatusTryAgainLater,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rooms := tt.rooms
			rooms.Rooms, rooms.address = &protocoltest.Rooms{}, make(chan string, 2)
			_, server := serve(t, gateway.New(gateway.Options{Authenticator: &rooms, Admitter: &rooms, Router: &rooms, Recorder: &rooms, Observer: &rooms}))
			if _, _, refusal := tryDial(t, server, "X-Api-Key", protocoltest.Key); !strings.HasPrefix(refusal, tt.status) || !strings.Contains(refusal, `"code":"`+tt.code+`"`) {
				t.Errorf("with the upgrade: %s", refusal)
			}
			c := dial(t, server)
			c.send(`{"type":"auth","api_key":"` + protocoltest.Key + `"}`)
			c.expectError(tt.code)
			c.expectClose(tt.closed)
			for range 2 {
				if address := <-rooms.address; address != "127.0.0.1" {
					t.Errorf("the address is %q", address)
				}
			}
			if observed := rooms.Observed(); len(observed) != 2 || observed[0].Address != "127.0.0.1" || len(rooms.Calls()) > 0 {
				t.Errorf("observed %+v", observed)
			}
		})
	}
}
