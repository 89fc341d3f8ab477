package clipool_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"claude-code-api-service/internal/clipool"
)

// TestANoisyKeyDoesNotKeepOthersWaiting has a key with forty requests in the queue
// of two workers; the only request of another key is served among the next few.
func TestANoisyKeyDoesNotKeepOthersWaiting(t *testing.T) {
	p := newPool(t, func(o *clipool.Options) { o.QueuePerWorker, o.HoldFor = 21, -1 })
	waitFor(t, p, func(s clipool.Status) bool { return s.Idle == 2 })
	var served atomic.Int64
	ask := func(ctx context.Context, key, prompt string) {
		call := newCall(t, "p", body("", prompt))
		call.Caller.KeyID = key
		if _, err := p.Generate(ctx, call, &collector{}); err != nil && ctx.Err() == nil {
			t.Errorf("%s got %v", key, err)
		}
		served.Add(1)
	}
	// Two requests hold the workers until everybody waits.
	hold, free := context.WithCancel(t.Context())
	defer free()
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { ask(hold, "noisy", "[[hang]]") })
	}
	waitFor(t, p, func(s clipool.Status) bool { return s.Busy == 2 })
	for i := range 40 {
		wg.Go(func() { ask(t.Context(), "noisy", fmt.Sprint("noise ", i)) })
	}
	waitFor(t, p, func(s clipool.Status) bool { return s.Queued == 40 })
	var before int64
	wg.Go(func() {
		ask(t.Context(), "quiet", "the only one")
		before = served.Load() - 1
	})
	waitFor(t, p, func(s clipool.Status) bool { return s.Queued == 41 })
	free()
	wg.Wait()
	// The two that held the workers, and what the other worker serves meanwhile.
	if before > 8 {
		t.Errorf("%d requests of the noisy key were served first", before)
	}
}
