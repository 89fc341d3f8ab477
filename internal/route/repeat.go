package route

import (
	"context"
	"log/slog"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/retry"
)

// Repeat makes a backend that asks again after what its upstream refused for a
// moment, or couldn't be reached for, as the direct path does by itself: before
// anything was answered or spent, and as often as the policy says. The policy must
// have a Budget. Of the Messages API's Retry-After only what the CLI tells of is known
// here: when a limit ends. log hears of retries.
func Repeat(backend gateway.Backend, policy retry.Policy, log *slog.Logger) gateway.Backend {
	return &repeating{backend, policy, log}
}

type repeating struct {
	backend gateway.Backend
	policy  retry.Policy
	log     *slog.Logger
}

// Generate implements gateway.Backend.
func (r *repeating) Generate(ctx context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	if call.CountOnly {
		return r.backend.Generate(ctx, call, out)
	}
	r.policy.Budget.Call()
	began := false
	out = &watched{EventWriter: out, begun: func() { began = true }}
	notes := call.Notes()
	for attempt := 0; ; attempt++ {
		result, err := r.backend.Generate(ctx, call, out)
		if began || result.Usage != (message.Usage{}) || !refusedForNow(err) {
			return result, err
		}
		if wait, known := asked(err); !r.policy.Pause(ctx, attempt, wait, known) {
			return result, err
		}
		r.log.LogAttrs(ctx, slog.LevelInfo, "repeat upstream call",
			slog.String("request_id", call.RequestID), slog.Int("attempt", attempt+1), slog.Any("error", err))
		call.Restore(notes)
	}
}

// refusedForNow says that the upstream refused a call for the moment, wasn't reached,
// or gave half an answer. One that ran into a timeout has used up the caller's patience, and a
// worker that died is the pool's to replace.
func refusedForNow(err error) bool {
	if err == nil {
		return false
	}
	e := apierror.From(err)
	return e.MayPass() && (e.Upstream != nil || e.Category == apierror.ConnectionError || e.Category == apierror.UpstreamError)
}

// asked is how long the upstream asks to wait. What callers are told where nothing is
// known isn't that.
func asked(err error) (wait time.Duration, known bool) {
	wait = apierror.From(err).RetryAfter
	return wait, wait > 0 && wait != apierror.UnknownRetryAfter
}
