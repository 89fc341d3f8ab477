package clipool_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/clipool"
)

// blocked fills the pool's only worker with a turn that ends when release is
// called, and returns when it runs.
func blocked(t *testing.T, p *clipool.Pool) (release func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	running := make(chan struct{})
	var once sync.Once
	done := make(chan struct{})
	out := &collector{onEvent: func() error { once.Do(func() { close(running) }); return nil }}
	call := newCall(t, "a", `{"model":"haiku","max_tokens":7,"stream":true,"messages":[{"role":"user","content":"[[hang]]"}]}`)
	go func() {
		defer close(done)
		if _, err := p.Generate(ctx, call, out); !errors.Is(err, context.Canceled) {
			t.Errorf("the blocked call ended with %v", err)
		}
	}()
	<-running
	return func() { cancel(); <-done }
}

func TestQueueIsBounded(t *testing.T) {
	p := newPool(t, func(o *clipool.Options) { o.Workers, o.QueuePerWorker = 1, 1 })
	release := blocked(t, p)
	served := make(chan error, 1)
	go func() { _, err := ask(t, p, "a", "", "waits"); served <- err }()
	waitFor(t, p, func(s clipool.Status) bool { return s.Queued == 1 })
	if s := p.Status(); !strings.Contains(s.Reason, "saturated") {
		t.Errorf("status = %+v", s)
	}
	_, err := ask(t, p, "a", "", "one too many")
	if e := apierror.From(err); e == nil || e.Category != apierror.Overloaded || e.RetryAfter == 0 {
		t.Errorf("err = %v", err)
	}
	release()
	if err := <-served; err != nil {
		t.Errorf("the one that waited: %v", err)
	}
}

func TestCallerLeavesTheQueue(t *testing.T) {
	p := newPool(t, func(o *clipool.Options) { o.Workers = 1 })
	release := blocked(t, p)
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := p.Generate(ctx, newCall(t, "a", body("", "x")), &collector{})
		left <- err
	}()
	waitFor(t, p, func(s clipool.Status) bool { return s.Queued == 1 })
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	if s := p.Status(); s.Queued != 0 {
		t.Errorf("status = %+v", s)
	}
	release()
	mustAsk(t, p, "a", "", "still served")
}

func TestTheHeadOfTheQueueIsServedInTime(t *testing.T) {
	p := newPool(t, func(o *clipool.Options) {
		o.Workers, o.Patience = 2, 50*time.Millisecond
	})
	waitFor(t, p, func(s clipool.Status) bool { return s.Idle == 2 })
	release := blocked(t, p) // a's one worker has a long answer
	defer release()
	stop, wg := make(chan struct{}), sync.WaitGroup{}
	for range 6 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if _, err := ask(t, p, "b", "", "x"); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	waitFor(t, p, func(s clipool.Status) bool { return s.Queued >= 4 })
	mustAsk(t, p, "a", "", "waits while b's requests pass") // else the test times out
	close(stop)
	wg.Wait()
}

// TestANoisyKeyDoesNotKeepOthersWaiting has a key with forty requests in the queue
// of two workers; the only request of another key is served among the next few. One
// of another project waits for a new process besides.
func TestANoisyKeyDoesNotKeepOthersWaiting(t *testing.T) {
	for _, test := range []struct {
		project string
		most    int64
	}{{"p", 8}, {"other", 30}} {
		t.Run(test.project, func(t *testing.T) {
			p := newPool(t, func(o *clipool.Options) { o.QueuePerWorker, o.HoldFor = 21, -1 })
			waitFor(t, p, func(s clipool.Status) bool { return s.Idle == 2 })
			var served atomic.Int64
			ask := func(ctx context.Context, project, key, prompt string) {
				call := newCall(t, project, body("", prompt))
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
				wg.Go(func() { ask(hold, "p", "noisy", "[[hang]]") })
			}
			waitFor(t, p, func(s clipool.Status) bool { return s.Busy == 2 })
			for i := range 40 {
				wg.Go(func() { ask(t.Context(), "p", "noisy", fmt.Sprintf("noise %d [[delay=20ms]]", i)) })
			}
			waitFor(t, p, func(s clipool.Status) bool { return s.Queued == 40 })
			var before int64
			wg.Go(func() {
				ask(t.Context(), test.project, "quiet", "the only one")
				before = served.Load() - 1
			})
			waitFor(t, p, func(s clipool.Status) bool { return s.Queued == 41 })
			free()
			wg.Wait()
			// The two that held the workers, and what the other worker serves meanwhile.
			if before > test.most {
				t.Errorf("%d requests of the noisy key were served first", before)
			}
		})
	}
}
