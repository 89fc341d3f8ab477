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

func TestClockIsReadMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := latency.Start()
		if _, _, ok := clock.Last(); ok {
			t.Error("a stage was marked before any was")
		}
		next, looked := make(chan struct{}), make(chan struct{})
		go func() { // the race detector watches it
			for range next {
				stage, after, ok := clock.Last()
				took, known := clock.Took(stage)
				if !ok || !known || took > after || after > time.Since(clock.StartTime()) {
					t.Errorf("last %v after %v (%t), it took %v (%t)", stage, after, ok, took, known)
				}
				looked <- struct{}{}
			}
		}()
		for stage := range latency.Total {
			time.Sleep(time.Millisecond)
			clock.Mark(stage)
			next <- struct{}{}
			time.Sleep(time.Millisecond)
			clock.Mark(stage) // while it is read
			<-looked
		}
		close(next)
		if stage, after, ok := clock.Last(); stage != latency.Record || after != 16*time.Millisecond || !ok {
			t.Errorf("last %v after %v (%t)", stage, after, ok)
		}
	})
}
