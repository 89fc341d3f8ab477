package latency_test

import (
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/latency"
)

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := latency.Start()
		time.Sleep(2 * time.Millisecond)
		clock.Mark(latency.Auth)
		time.Sleep(1500 * time.Microsecond)
		clock.Mark(latency.Queue)
		time.Sleep(time.Millisecond)
		clock.Mark(latency.Bind)
		time.Sleep(time.Millisecond)
		clock.Mark(latency.Queue) // a second worker was needed
		clock.Finish()
		want := "auth;dur=2.000, queue;dur=2.500, bind;dur=1.000, total;dur=5.500"
		if got := string(clock.AppendServerTiming(nil)); got != want {
			t.Errorf("Server-Timing = %q, want %q", got, want)
		}
		if _, known := clock.Took(latency.FirstByte); known {
			t.Error("a stage that wasn't marked is known")
		}
	})
}
