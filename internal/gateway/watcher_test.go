package gateway_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
)

// eyes write down what a watcher hears.
type eyes struct{ heard []string }

func (e *eyes) Opened(call *gateway.Call) { e.heard = append(e.heard, "opened "+call.Asked()) }
func (e *eyes) Routed(call *gateway.Call) {
	e.heard = append(e.heard, "routed "+call.Backend+" "+call.Model)
}
func (e *eyes) Closed(*gateway.Call) { e.heard = append(e.heard, "closed") }

// once falls back to another model, one time.
type once struct {
	rooms *rooms
	asked bool
}

func (o *once) Next(call *gateway.Call, _ error) gateway.Backend {
	if o.asked {
		return nil
	}
	o.asked = true
	call.Model = "claude-y"
	return o.rooms
}

func TestWatcher(t *testing.T) {
	boom := apierror.New(apierror.Overloaded, "boom")
	for _, test := range []struct {
		name, fail string
		err        error
		want       []string
	}{
		{"all is well", "", nil, []string{"opened haiku", "routed direct claude-x", "closed"}},
		{"refused", "admit", boom, []string{"opened haiku", "closed"}},
		{"no route", "route", boom, []string{"opened haiku", "closed"}},
		{"both fail", "generate", boom, []string{"opened haiku", "routed direct claude-x", "routed direct claude-y", "closed"}},
		{"another model isn't paid for", "reserve", boom, []string{"opened haiku", "routed direct claude-x", "closed"}},
		{"the ledger panics", "record", errPanic, []string{"opened haiku", "routed direct claude-x", "closed"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, e := &rooms{fail: map[string]error{test.fail: test.err}}, &eyes{}
			g := gateway.New(gateway.Options{Authenticator: r, Admitter: r, Router: r, Recorder: r, Observer: r, Watcher: e, Fallback: &once{rooms: r}})
			call := &gateway.Call{Request: &message.Request{Model: "haiku"}, Clock: latency.Start()}
			func() {
				defer func() {
					if v := recover(); v != nil && !errors.Is(test.err, errPanic) {
						panic(v)
					}
				}()
				err := g.Serve(context.Background(), call, r)
				if (err == nil) != (test.err == nil) {
					t.Errorf("err = %v", err)
				}
			}()
			if !slices.Equal(e.heard, test.want) {
				t.Errorf("heard %q\nwant  %q", e.heard, test.want)
			}
		})
	}
}
