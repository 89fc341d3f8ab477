package app

import (
	"github.com/prometheus/client_golang/prometheus"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/pricing"
	"claude-code-api-service/internal/streamapi"
)

// makeStream makes the WebSocket's handler, and the metric of its connections:
// their chats are counted as requests.
func (a *App) makeStream(g *gateway.Gateway, catalogue *pricing.Catalogue, registry prometheus.Registerer) *streamapi.Handler {
	h := streamapi.New(streamapi.Options{
		Gateway: g, Rules: rules(catalogue, a.config.ModelMap), MaxBody: a.config.MaxBodyBytes, Log: a.log,
	})
	registry.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "claude_api_stream_connections", Help: "WebSocket connections that are open."},
		func() float64 { return float64(h.Connections()) },
	))
	return h
}
