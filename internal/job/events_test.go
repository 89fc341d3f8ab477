package job_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/job"
)

// TestEventsAreHeardAsTheyCome has listeners from the beginning, from the middle, on
// another node, and with nothing to hear.
func TestEventsAreHeardAsTheyCome(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		const count = 500 // more than a page, and than a listener may be behind
		half, goOn := make(chan struct{}), make(chan struct{})
		n := start(t, p, 1, func(ctx context.Context, r *job.Run) (jsontext.Value, error) {
			var wg sync.WaitGroup
			errs := make(chan error, count)
			for i := range count {
				if i == count/2 {
					wg.Wait()
					close(half)
					<-goOn
				}
				wg.Go(func() { errs <- r.Emit(ctx, text(fmt.Sprint(i))) })
			}
			wg.Wait()
			close(errs)
			for err := range errs {
				if err != nil {
					return nil, err
				}
			}
			return nil, nil
		})
		far := n
		if p.url != "" {
			far = engine(t, p, job.Options{})
			if err := far.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		submit(t, n, task("talks"))
		var wg sync.WaitGroup
		listen := func(n *node, after int64) {
			wg.Go(func() {
				next := after
				for event, err := range n.Events(t.Context(), "key_1", "talks", after) {
					if err != nil {
						t.Error(err)
						return
					}
					if next++; event.Seq != next {
						t.Errorf("number %d comes after %d", event.Seq, next-1)
						return
					}
				}
				if next != count {
					t.Errorf("the last that was heard is %d", next)
				}
			})
		}
		listen(n, 0)
		listen(far, 0)
		<-half
		listen(n, 0)
		listen(n, count/2)
		listen(far, count/4)
		close(goOn)
		wg.Wait()
		_, events := ended(t, n, "talks") // when all is over
		seen := map[string]bool{}
		for _, event := range events {
			seen[string(event.Data)] = true
		}
		if gapless(t, events); len(seen) != count {
			t.Errorf("%d of %d are kept", len(seen), count)
		}
	})
}

// TestLiveEvents are heard by who listens, in their place, and by nobody later.
func TestLiveEvents(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		listening := make(chan struct{})
		n := start(t, p, 1, func(ctx context.Context, r *job.Run) (jsontext.Value, error) {
			if err := r.Emit(ctx, text(`0`)); err != nil {
				return nil, err
			}
			<-listening
			r.Live(text(`1`))
			r.Live(text(`2`))
			if err := r.Emit(ctx, text(`3`)); err != nil {
				return nil, err
			}
			r.Live(text(`4`))
			return nil, r.Emit(ctx, text(`5`))
		})
		submit(t, n, task("streams"))
		next := 0
		for event, err := range n.Events(t.Context(), "key_1", "streams", 0) {
			if err != nil {
				t.Fatal(err)
			}
			if string(event.Data) != fmt.Sprint(next) || event.Time.IsZero() {
				t.Errorf("event %d is %+v", next, event)
			}
			if next == 0 {
				close(listening)
			}
			next++
		}
		if next != 6 {
			t.Errorf("%d were heard", next)
		}
		if _, events := ended(t, n, "streams"); len(events) != 3 {
			t.Errorf("%d are kept", len(events))
		}
	})
}

// TestSlowListener has one who doesn't read for long: it misses live events and no other,
// and delays nobody.
func TestSlowListener(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		const count = 1000
		listening := make(chan struct{})
		n := start(t, p, 1, func(ctx context.Context, r *job.Run) (jsontext.Value, error) {
			<-listening
			for range count {
				r.Live(text(`"live"`))
			}
			return nil, errors.Join(r.Emit(ctx, text(`1`)), r.Emit(ctx, text(`2`)))
		})
		submit(t, n, task("babbles"))
		live, kept := 0, int64(0)
		var once sync.Once
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		go func() {
			await(t, "it runs", func() bool {
				j, err := n.Job(t.Context(), "key_1", "babbles")
				return err == nil && j.State == job.Running
			})
			close(listening)
		}()
		for event, err := range n.Events(ctx, "key_1", "babbles", 0) {
			if err != nil {
				t.Fatal(err)
			}
			once.Do(func() { // while it doesn't read, the job ends
				await(t, "the job ends", func() bool {
					j, err := n.Job(t.Context(), "key_1", "babbles")
					return err == nil && j.State.Ended()
				})
			})
			if event.Seq == 0 {
				live++
			} else if kept++; event.Seq != kept {
				t.Errorf("number %d comes after %d", event.Seq, kept-1)
			}
		}
		if kept != 2 || live >= count {
			t.Errorf("heard %d kept events and %d live ones", kept, live)
		}
	})
}

// TestListenerLeaves ends by its own context.
func TestListenerLeaves(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		n := engine(t, p, job.Options{})
		submit(t, n, task("waits"))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		for event, err := range n.Events(ctx, "key_1", "waits", 0) {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%+v, %v", event, err)
			}
		}
		for _, who := range []struct{ key, id string }{{"key_2", "waits"}, {"key_1", "absent"}} {
			for event, err := range n.Events(t.Context(), who.key, who.id, 0) {
				if !errors.Is(err, job.ErrNotFound) {
					t.Errorf("%+v: %+v, %v", who, event, err)
				}
			}
		}
	})
}

// TestTurns has one key with many jobs, and another that comes later.
func TestTurns(t *testing.T) {
	each(t, func(t *testing.T, p place) {
		const many = 200
		gate := make(chan struct{})
		var mu sync.Mutex
		var order []string
		n := start(t, p, 1, func(_ context.Context, r *job.Run) (jsontext.Value, error) {
			<-gate
			mu.Lock()
			defer mu.Unlock()
			order = append(order, r.Job().KeyID)
			return nil, nil
		})
		for range many {
			submit(t, n, task(""))
		}
		late := task("late")
		late.KeyID = "key_2"
		if _, err := n.Submit(t.Context(), late); err != nil {
			t.Fatal(err)
		}
		close(gate)
		for _, err := range n.Events(t.Context(), "key_2", "late", 0) {
			if err != nil {
				t.Fatal(err)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if len(order) > 5 {
			t.Errorf("%d of another key's jobs were done before it", len(order)-1)
		}
	})
}
