package claudecli_test

import (
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/trace"
)

// TestTheUpstreamIsToldOfTheTrace of each request on one process, of no former one's, and
// beside the headers that the operator lets through. The CLI itself sends nothing of a
// TRACEPARENT in its environment.
func TestTheUpstreamIsToldOfTheTrace(t *testing.T) {
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) {
			upstream := clitest.NewUpstream(t)
			p, err := claudecli.Start(claudecli.Options{
				Path: clitest.Path(t, version), Root: t.TempDir(), Model: testModel, Features: bothVersions[version],
				BaseURL: upstream.URL(), APIKey: "sk-simulator",
				Env: []string{"ANTHROPIC_CUSTOM_HEADERS=X-Operator: yes", "TRACEPARENT=00-" + nobodys + "-00f067aa0ba902b7-01"},
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Close)
			ready(t, p)
			for _, e := range []trace.Environment{
				{}, {Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", State: "vendor=1"},
				{Parent: "00-1af7651916cd43dd8448eb211c80319c-c7ad6b7169203331-01"}, {},
			} {
				if err := p.Bind(t.Context(), claudecli.Settings{Model: testModel, Trace: e}); err != nil {
					t.Fatal(err)
				}
				if _, err := p.Turn(t.Context(), jsontext.Value(`"hi"`), claudecli.Handler{Event: func(message.Event) error { return nil }}); err != nil {
					t.Fatal(err)
				}
				requests := upstream.Requests()
				h := requests[len(requests)-1].Header
				if got := (trace.Environment{Parent: h.Get("Traceparent"), State: h.Get("Tracestate")}); got != e || h.Get("X-Operator") != "yes" {
					t.Errorf("of %+v the upstream is told %+v, with the header %v", e, got, h)
				}
				if err := p.Empty(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

const nobodys = "4bf92f3577b34da6a3ce929d0e0e4736"
