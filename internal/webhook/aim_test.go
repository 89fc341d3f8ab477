package webhook_test

import (
	"testing"
	"testing/synctest"
)

func TestAim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t)
		s.url = ""
		sender := s.start()
		notify := func(subject string) int {
			synctest.Wait()
			sender.Notify(s.event(subject))
			synctest.Wait()
			return len(s.receiver.deliveries())
		}
		if n := notify("a"); n != 0 {
			t.Errorf("%d deliveries to nobody", n)
		}
		if err := sender.Aim("http://elsewhere.example", secret); err == nil {
			t.Error("a URL that New refuses was taken")
		}
		if err := sender.Aim(address, "short"); err == nil {
			t.Error("a secret that New refuses was taken")
		}
		for range 2 { // the goroutine may not have taken the first yet
			if err := sender.Aim(address, secret); err != nil {
				t.Fatal(err)
			}
		}
		if n := notify("b"); n != 1 {
			t.Fatalf("%d deliveries", n)
		}
		signed(t, s.receiver.deliveries()[0])
		if err := sender.Aim("", ""); err != nil {
			t.Fatal(err)
		}
		if n := notify("c"); n != 1 {
			t.Errorf("%d deliveries after the receiver was taken away", n)
		}
		s.close(sender)
	})
}
