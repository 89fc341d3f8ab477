package app

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A service that doesn't answer, or never comes back from being asked, gives no sign of
// life: the service manager starts it anew.
func TestNoSignOfLifeFromWhatDoesNotAnswer(t *testing.T) {
	for name, tt := range map[string]struct {
		alive func(ctx context.Context) bool
		signs int
	}{
		"alive":    {func(context.Context) bool { return true }, 10},
		"refusing": {func(context.Context) bool { return false }, 0},
		"stuck":    {func(ctx context.Context) bool { <-ctx.Done(); return false }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var sent []string
				r := &reporter{
					send: func(state string) { sent = append(sent, state) }, text: func() string { return "serving" },
					alive: func() bool { return tt.alive(ctx) }, watchdog: 10 * time.Second,
				}
				go r.watch(ctx)
				time.Sleep(50*time.Second + time.Millisecond)
				synctest.Wait()
				if n := len(sent); n != tt.signs || slices.ContainsFunc(sent, func(s string) bool { return s != "WATCHDOG=1" }) {
					t.Errorf("sent %q, want %d signs of life", sent, tt.signs)
				}
			})
		})
	}
}

// Alive asks the service itself.
func TestAlive(t *testing.T) {
	a, err := New(t.Context(), settings(t), silent())
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !a.alive() {
		t.Error("a service that serves isn't alive")
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
