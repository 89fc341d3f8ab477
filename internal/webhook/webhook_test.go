package webhook_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/webhook"
)

func TestADelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t)
		sender := s.start()
		sender.Notify(s.event("one"))
		synctest.Wait()
		got := s.receiver.deliveries()
		if len(got) != 1 {
			t.Fatalf("%d deliveries", len(got))
		}
		signed(t, got[0])
		if want := `{"type":"test.happened","timestamp":"2000-01-01T00:00:00Z","data":{"subject":"one"}}`; got[0].body != want {
			t.Errorf("the body is %s, want %s", got[0].body, want)
		}
		if kind := got[0].header.Get("Content-Type"); kind != "application/json" {
			t.Errorf("it is %s", kind)
		}
		// It happened once, whoever else tells of it, and the receiver is told of others.
		sender.Notify(s.event("one"))
		sender.Notify(s.event("two"))
		s.close(sender)
		got = s.receiver.deliveries()
		if len(got) != 2 || s.news != 2 || got[0].header.Get("webhook-id") == got[1].header.Get("webhook-id") {
			t.Errorf("%d deliveries, %d news", len(got), s.news)
		}
		if s.log.Len() > 0 {
			t.Errorf("the log says %s", &s.log)
		}
	})
}

func TestAttemptsUntilItIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, 500, 302, 0, 410, 429, 199, 299)
		sender := s.start()
		sender.Notify(s.event("one"))
		time.Sleep(time.Hour)
		s.close(sender)
		got := s.receiver.deliveries()
		if len(got) != 7 {
			t.Fatalf("%d attempts, want one for each answer", len(got))
		}
		for i, d := range got {
			signed(t, d)
			if d.body != got[0].body || d.header.Get("webhook-id") != got[0].header.Get("webhook-id") {
				t.Errorf("attempt %d is another message: %+v", i, d)
			}
			if i == 0 {
				continue
			}
			longest := time.Second << (i - 1)
			waited := d.at.Sub(got[i-1].at)
			if i == 3 {
				waited -= 10 * time.Second // the attempt that hung
			}
			if waited < longest/2 || waited > longest {
				t.Errorf("attempt %d came after %s, want half to all of %s", i, waited, longest)
			}
		}
		if strings.Contains(s.log.String(), "planted") || strings.Contains(s.log.String(), secret) {
			t.Errorf("the log tells the URL or the secret: %s", &s.log)
		}
		if n := strings.Count(s.log.String(), "\n"); n != 6 {
			t.Errorf("%d lines in the log, want one for each failure:\n%s", n, &s.log)
		}
	})
}

func TestItIsGivenUpAfterADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, slices.Repeat([]int{503}, 1000)...)
		sender := s.start()
		began := time.Now()
		sender.Notify(s.event("one"))
		time.Sleep(72 * time.Hour)
		s.close(sender)
		got := s.receiver.deliveries()
		last := got[len(got)-1].at.Sub(began)
		if len(got) < 30 || len(got) > 70 || last > 24*time.Hour || last < 22*time.Hour {
			t.Errorf("%d attempts, the last after %s", len(got), last)
		}
		if strings.Count(s.log.String(), "given up") != 1 {
			t.Errorf("the log says %s", &s.log)
		}
	})
}

func TestWithoutAReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t)
		s.url = ""
		for range 2 {
			sender := s.start()
			sender.Notify(s.event("one"))
			sender.Notify(s.event("one"))
			s.close(sender)
		}
		s.url = address // and what is old isn't news for one
		s.close(s.start())
		if n := len(s.receiver.deliveries()); n != 0 || s.news != 1 {
			t.Errorf("%d deliveries, %d news", n, s.news)
		}
	})
}

func TestOneThatFailsDoesntHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, 400, 200)
		sender := s.start()
		sender.Notify(s.event("refused"))
		synctest.Wait()
		sender.Notify(s.event("taken"))
		synctest.Wait()
		if got := s.receiver.deliveries(); len(got) != 2 || !strings.Contains(got[1].body, "taken") {
			t.Errorf("deliveries %+v", got)
		}
		s.close(sender)
	})
}

func TestCloseTriesWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, 500, 500)
		sender := s.start()
		for i := range 5 {
			sender.Notify(s.event(fmt.Sprint(i)))
		}
		s.close(sender) // tries each once
		if n := len(s.receiver.deliveries()); n != 5 {
			t.Errorf("%d attempts", n)
		}
		s.close(sender)
	})
}

func TestCloseEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, 0)
		sender := s.start()
		sender.Notify(s.event("hangs"))
		synctest.Wait()
		sender.Notify(s.event("waits"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := sender.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("Close = %v after %s", err, time.Since(began))
		}
		// Nothing is lost, and the receiver isn't to blame.
		if s.log.Len() > 0 {
			t.Errorf("the log says %s", &s.log)
		}
		s.close(s.start())
		if got := s.receiver.deliveries(); len(got) != 3 || s.news != 2 {
			t.Errorf("deliveries %+v, %d news", got, s.news)
		}
	})
}

func TestAStoreThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t)
		sender := s.start()
		s.store.fail(errors.New("disk full"))
		sender.Notify(s.event("one"))
		synctest.Wait()
		if n := len(s.receiver.deliveries()); n != 1 || !strings.Contains(s.log.String(), "disk full") {
			t.Errorf("%d deliveries; the log says %s", n, &s.log)
		}
		s.close(sender)
		if _, err := webhook.New(t.Context(), webhook.Options{URL: address, Secret: secret, Archive: archive.New(archive.Options{Store: s.store})}); err == nil {
			t.Error("it starts without knowing what was left")
		}
	})
}

func TestWhatCantBeReadIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t)
		kept := archive.New(archive.Options{Store: s.store})
		if err := kept.Put(t.Context(), "alert", "", "broken", time.Hour, []byte("{")); err != nil {
			t.Fatal(err)
		}
		sender := s.start()
		sender.Notify(s.event("one"))
		s.close(sender)
		if n := len(s.receiver.deliveries()); n != 1 || !strings.Contains(s.log.String(), "broken") {
			t.Errorf("%d deliveries; the log says %s", n, &s.log)
		}
	})
}

func TestTooManyEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, 0)
		sender := s.start()
		sender.Notify(s.event("hangs"))
		synctest.Wait()
		for i := range 1030 {
			sender.Notify(s.event(fmt.Sprint(i)))
		}
		time.Sleep(time.Minute)
		s.close(sender)
		if n := strings.Count(s.log.String(), "an event is lost"); n != 6 || s.news != 1025 {
			t.Errorf("%d events are told to be lost, %d are known", n, s.news)
		}
	})
}

func TestWhatIsRefused(t *testing.T) {
	for name, tt := range map[string]struct{ url, secret, want string }{
		"no URL":               {"hooks.example/planted", secret, "https://"},
		"nonsense":             {"https://%zz/planted", secret, "https://"},
		"another scheme":       {"ftp://hooks.example/planted", secret, "https://"},
		"no host":              {"https:///planted", secret, "https://"},
		"in clear":             {"http://hooks.example/planted", secret, "on this machine"},
		"in clear, by address": {"http://192.0.2.1/planted", secret, "on this machine"},
		"a password":           {"https://user:planted@hooks.example/", secret, "password"},
		"no secret":            {address, "", "needs a secret"},
		"no prefix":            {address, strings.TrimPrefix(secret, "whsec_"), "whsec_"},
		"no base64":            {address, "whsec_planted!", "base64"},
		"a short secret":       {address, "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 23)), "24 to 64"},
		"a long secret":        {address, "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65)), "24 to 64"},
	} {
		_, err := webhook.New(t.Context(), webhook.Options{URL: tt.url, Secret: tt.secret, Archive: archive.New(archive.Options{Store: newMemory()})})
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "planted") || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, url := range []string{"http://127.0.0.1:1/", "http://localhost/", "http://[::1]:99/x"} {
		sender, err := webhook.New(t.Context(), webhook.Options{URL: url, Secret: secret, Archive: archive.New(archive.Options{Store: newMemory()})})
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if err := sender.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
