package app

import (
	"github.com/prometheus/client_golang/prometheus"

	"claude-code-api-service/internal/idempotency"
)

// makeOnce makes what serves requests with an Idempotency-Key once, and the metric
// of the answers that it gave again: those are counted as no request.
func (a *App) makeOnce(registry prometheus.Registerer) *idempotency.Keeper {
	k := idempotency.New(idempotency.Options{Archive: a.archive, Nodes: a.member, MaxBody: a.config.MaxBodyBytes, Log: a.log})
	registry.MustRegister(prometheus.NewCounterFunc(
		prometheus.CounterOpts{Name: "claude_api_replayed_answers_total", Help: "Answers that were given again for an Idempotency-Key."},
		func() float64 { return float64(k.Replayed()) },
	))
	return k
}
