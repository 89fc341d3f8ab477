package webhook_test

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestARestart: what wasn't delivered is delivered by the next Sender, in the
// same words; what was delivered never again.
func TestARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, 200, 503, 503)
		sender := s.start()
		sender.Notify(s.event("delivered"))
		synctest.Wait()
		sender.Notify(s.event("pending"))
		synctest.Wait()
		s.close(sender)
		if n := len(s.receiver.deliveries()); n != 2 {
			t.Fatalf("%d attempts: Close repeats nothing", n)
		}
		time.Sleep(time.Hour)
		sender = s.start()
		sender.Notify(s.event("delivered"))
		sender.Notify(s.event("pending"))
		time.Sleep(time.Minute)
		s.close(sender)
		s.close(s.start())
		got := s.receiver.deliveries()
		if len(got) != 4 || s.news != 2 {
			t.Fatalf("%d attempts, %d news", len(got), s.news)
		}
		for _, again := range got[2:] {
			if again.body != got[1].body || again.header.Get("webhook-id") != got[1].header.Get("webhook-id") {
				t.Errorf("it went on with %+v, want %+v", again, got[1])
			}
		}
	})
}

// TestTwoProcesses share a database. Each may tell of the same event, under one
// id; once it is delivered, neither does.
func TestTwoProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, 500, 500)
		one := s.start()
		one.Notify(s.event("one"))
		synctest.Wait()
		two := s.start() // finds it, and has no luck either
		two.Notify(s.event("one"))
		time.Sleep(time.Hour)
		got := s.receiver.deliveries()
		if len(got) != 3 || s.news != 1 {
			t.Errorf("%d attempts, %d news; want two that failed and one that didn't", len(got), s.news)
		}
		for _, d := range got {
			if d.body != got[0].body || d.header.Get("webhook-id") != got[0].header.Get("webhook-id") {
				t.Errorf("another message: %+v", d)
			}
		}
		s.close(one)
		s.close(two)
	})
}

func TestAnEventIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t)
		sender := s.start()
		for range 2 {
			sender.Notify(s.event("one"))
			time.Sleep(47 * time.Hour)
			sender.Notify(s.event("one"))
			synctest.Wait()
			time.Sleep(2 * time.Hour)
		}
		s.close(sender)
		if n := len(s.receiver.deliveries()); n != 2 || s.news != 2 {
			t.Errorf("%d deliveries, %d news", n, s.news)
		}
	})
}
