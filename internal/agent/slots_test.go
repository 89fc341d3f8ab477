package agent

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"claude-code-api-service/internal/apierror"
)

// TestSlotsAreSharedBetweenKeys has one key send many runs before another sends one.
func TestSlotsAreSharedBetweenKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var status gauges
		s := newSlots(1, 10, &status)
		if err := s.acquire(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		order := make(chan string, 5)
		for _, key := range []string{"a", "a", "b", "a", "c"} {
			go func() {
				if err := s.acquire(t.Context(), key); err != nil {
					t.Error(err)
				}
				order <- key
			}()
			synctest.Wait()
		}
		if running, queued := status.running.Load(), status.queued.Load(); running != 1 || queued != 5 {
			t.Errorf("%d run, %d wait", running, queued)
		}
		var got []string
		holder := "a"
		for range 5 {
			s.release(holder)
			holder = <-order
			got = append(got, holder)
			synctest.Wait()
		}
		s.release(holder)
		if want := []string{"b", "c", "a", "a", "a"}; !slices.Equal(got, want) {
			t.Errorf("%v, not %v", got, want)
		}
		if len(s.working) != 0 || len(s.served) != 0 || s.free != 1 || status.running.Load() != 0 {
			t.Errorf("left: %+v", s)
		}
	})
}

func TestSlotsAreLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var status gauges
		s := newSlots(1, 1, &status)
		if err := s.acquire(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		left := errors.New("left")
		ctx, leave := context.WithCancelCause(t.Context())
		failed := make(chan error)
		go func() { failed <- s.acquire(ctx, "b") }()
		synctest.Wait()
		if e := apierror.From(s.acquire(t.Context(), "c")); e == nil || e.Category != apierror.Overloaded || !status.full.Load() {
			t.Errorf("beyond the queue: %v", e)
		}
		leave(left)
		if err := <-failed; !errors.Is(err, left) {
			t.Errorf("left: %v", err)
		}
		go func() { failed <- s.acquire(t.Context(), "b") }()
		synctest.Wait()
		s.close()
		if err := <-failed; !errors.Is(err, errStopping) {
			t.Errorf("closed: %v", err)
		}
		s.release("a")
		if err := s.acquire(t.Context(), "a"); !errors.Is(err, errStopping) {
			t.Errorf("after the close: %v", err)
		}
	})
}

// TestAFullQueueIsShared: one key has filled it before others come.
func TestAFullQueueIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var status gauges
		s := newSlots(1, 4, &status)
		if err := s.acquire(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		refused := make(chan string, 8)
		wait := func(key string) {
			go func() {
				if err := s.acquire(t.Context(), key); err != nil && !errors.Is(err, errStopping) {
					refused <- key
				}
			}()
			synctest.Wait()
		}
		for _, key := range []string{"a", "a", "a", "a", "b", "a", "c", "b", "c"} {
			wait(key)
		}
		s.close()
		synctest.Wait()
		close(refused)
		var got []string
		for key := range refused {
			got = append(got, key)
		}
		// b takes a place of a's, which then has none for another of its own; c takes one of
		// a's; nobody has two more than b and c then.
		if want := []string{"a", "a", "a", "b", "c"}; !slices.Equal(got, want) {
			t.Errorf("refused: %v, not %v", got, want)
		}
	})
}
