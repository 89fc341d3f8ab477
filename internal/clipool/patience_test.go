package clipool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/apierror"
)

// overloaded gives the Retry-After of a refusal for load, and fails on anything
// else.
func overloaded(t *testing.T, err error) time.Duration {
	t.Helper()
	var e *apierror.Error
	if !errors.As(err, &e) || e.Category != apierror.Overloaded || e.RetryAfter <= 0 || e.RetryAfter%time.Second != 0 {
		t.Fatalf("err = %v", err)
	}
	return e.RetryAfter
}

// learned lets a pool see what requests take.
func learned(t *testing.T, p *stubbed, took time.Duration) {
	t.Helper()
	for range leastKnown {
		if err := p.use(t.Context(), "a", took); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
}

func TestRequestsThatWaitForTooLongAreRefused(t *testing.T) {
	withStubs(t, Options{Workers: 1, Reuse: ReuseAlways}, nil, func(t *testing.T, p *stubbed) {
		learned(t, p, 10*time.Second)
		var others sync.WaitGroup
		for range 4 { // one has the worker, three wait
			others.Go(func() {
				if err := p.use(t.Context(), "a", 10*time.Second); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		within := func(limit time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			return p.use(ctx, "a", time.Second)
		}
		began := time.Now()
		// Behind three others it waits for about 40 s.
		if retry := overloaded(t, within(39*time.Second)); retry != mostRetryAfter || time.Since(began) != 0 {
			t.Errorf("refused after %v, Retry-After %v", time.Since(began), retry)
		}
		if err := within(41 * time.Second); err != nil || time.Since(began) != 41*time.Second {
			t.Errorf("one that has time: %v after %v", err, time.Since(began))
		}
		others.Wait()
	})
}

// Another key's turn comes sooner, so it waits for less.
func TestAnEstimateKnowsOfTurns(t *testing.T) {
	withStubs(t, Options{Workers: 1, Reuse: ReuseAlways}, nil, func(t *testing.T, p *stubbed) {
		learned(t, p, 4*time.Second)
		var others sync.WaitGroup
		for range 8 {
			others.Go(func() {
				if err := p.use(t.Context(), "a", 4*time.Second); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
		defer cancel()
		overloaded(t, p.use(ctx, "a", 0))
		if err := p.use(ctx, "b", 0); err != nil {
			t.Errorf("the only request of another key: %v", err)
		}
		others.Wait()
	})
}

func TestQueueTimeout(t *testing.T) {
	withStubs(t, Options{Workers: 1, QueueTimeout: 20 * time.Second}, nil, func(t *testing.T, p *stubbed) {
		time.Sleep(2 * time.Second)
		var others sync.WaitGroup
		others.Go(func() {
			if err := p.use(t.Context(), "a", time.Minute); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		began := time.Now()
		overloaded(t, p.use(t.Context(), "a", 0))
		if took := time.Since(began); took != 20*time.Second || p.Status().Queued != 0 {
			t.Errorf("refused after %v, %d queued", took, p.Status().Queued)
		}
		others.Wait()
	})
	withStubs(t, Options{Workers: 1, QueueTimeout: -1}, nil, func(t *testing.T, p *stubbed) {
		time.Sleep(2 * time.Second)
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if err := p.use(t.Context(), "a", time.Hour); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		both.Wait()
	})
}

// A request that is given a worker in the moment in which its time is over takes it.
func TestGivingUpInTheMomentOfTheGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newStaffed(1, 10)
		w, err := p.acquire(t.Context(), demand{key: "a"})
		if err != nil {
			t.Fatal(err)
		}
		late := &waiter{demand: demand{key: "b"}, since: time.Now(), grant: make(chan grant, 1)}
		p.mu.Lock()
		p.queue.add(late)
		p.mu.Unlock()
		p.finish("a", w)
		if got, err := p.giveUp(late); got != w || err != nil {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

func TestRetryAfterOfAFullQueue(t *testing.T) {
	for _, test := range []struct{ took, want time.Duration }{
		{10 * time.Millisecond, time.Second}, {400 * time.Millisecond, 5 * time.Second}, {time.Minute, 30 * time.Second},
	} {
		t.Run(fmt.Sprint(test.took), func(t *testing.T) {
			withStubs(t, Options{Workers: 1, Reuse: ReuseAlways, QueueTimeout: -1}, nil, func(t *testing.T, p *stubbed) {
				learned(t, p, test.took)
				var others sync.WaitGroup
				for range 1 + DefaultQueuePerWorker {
					others.Go(func() {
						if err := p.use(t.Context(), "a", test.took); err != nil {
							t.Error(err)
						}
					})
					synctest.Wait()
				}
				if got := overloaded(t, p.use(t.Context(), "a", 0)); got != test.want {
					t.Errorf("Retry-After %v, want %v", got, test.want)
				}
				others.Wait()
			})
		})
	}
}

// What /health and /ready read waits for nobody.
func TestTheStatusIsReadWhileTheLockIsHeld(t *testing.T) {
	p := newStaffed(1, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	read := make(chan Status)
	go func() { read <- p.Status() }()
	select {
	case <-read:
	case <-time.After(30 * time.Second):
		t.Error("the status waits for the lock")
	}
}
