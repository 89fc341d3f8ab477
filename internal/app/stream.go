package app

import (
	"github.com/prometheus/client_golang/prometheus"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/streamapi"
)

// streamOptions are for the WebSocket.
func (a *App) streamOptions(n *generation, g *gateway.Gateway) streamapi.Options {
	return streamapi.Options{Gateway: g, Tasks: a.desk, Rules: rules(n.catalogue, n.config.ModelMap), MaxBody: n.config.MaxBodyBytes, Origins: n.config.CORSOrigin, Log: a.log}
}

// registerStream makes the metric of the WebSocket's connections: their chats are
// counted as requests.
func registerStream(registry prometheus.Registerer, h *streamapi.Handler) {
	registry.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "claude_api_stream_connections", Help: "WebSocket connections that are open."},
		func() float64 { return float64(h.Connections()) },
	))
}
