package webhook_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	address = "https://hooks.example/planted-path"
	secret  = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
)

// memory is an archive.Store that can be made to fail.
type memory struct {
	archive.Store // only these four are called

	mu        sync.Mutex
	documents map[string]archive.Document
	err       error
}

func newMemory() *memory { return &memory{documents: map[string]archive.Document{}} }

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *memory) PutDocument(ctx context.Context, d archive.Document) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil && ctx.Err() == nil {
		d.Body = bytes.Clone(d.Body)
		m.documents[d.Kind+"/"+d.KeyID+"/"+d.ID] = d
	}
	return errors.Join(m.err, ctx.Err())
}

func (m *memory) Document(ctx context.Context, kind, keyID, id string) (archive.Document, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, ok := m.documents[kind+"/"+keyID+"/"+id]
	if err := errors.Join(m.err, ctx.Err()); err != nil || ok {
		return d, err
	}
	return d, archive.ErrNotFound
}

func (m *memory) Documents(_ context.Context, kind, keyID string) (list []archive.Document, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.documents {
		if d.Kind == kind && d.KeyID == keyID {
			list = append(list, d)
		}
	}
	slices.SortFunc(list, func(a, b archive.Document) int { return a.Created.Compare(b.Created) })
	return list, m.err
}

// delivery is one request that a receiver got.
type delivery struct {
	at     time.Time
	header http.Header
	body   string
}

// receiver answers with one status after another, and from then on with 204. 0
// hangs until the request is given up.
type receiver struct {
	mu       sync.Mutex
	statuses []int
	got      []delivery
}

func (r *receiver) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.got = append(r.got, delivery{time.Now(), request.Header, string(body)})
	status := http.StatusNoContent
	if len(r.statuses) > 0 {
		status, r.statuses = r.statuses[0], r.statuses[1:]
	}
	r.mu.Unlock()
	if status == 0 {
		<-request.Context().Done()
		return nil, request.Context().Err()
	}
	header := http.Header{"Location": {"https://elsewhere.example/"}}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader("thanks")), Request: request}, nil
}

func (r *receiver) deliveries() []delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// stand is a Sender's surroundings, which outlive it.
type stand struct {
	t        *testing.T
	store    *memory
	receiver *receiver
	log      bytes.Buffer
	logger   *slog.Logger // writes to log
	news     int
	url      string
}

func newStand(t *testing.T, statuses ...int) *stand {
	s := &stand{t: t, store: newMemory(), receiver: &receiver{statuses: statuses}, url: address}
	s.logger = slog.New(slog.NewTextHandler(&s.log, nil))
	return s
}

func (s *stand) start() *webhook.Sender {
	s.t.Helper()
	sender, err := webhook.New(s.t.Context(), webhook.Options{
		URL: s.url, Secret: secret, Archive: archive.New(archive.Options{Store: s.store}),
		Client: &http.Client{Transport: s.receiver}, Logger: s.logger,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return sender
}

func (s *stand) event(subject string) webhook.Event {
	return webhook.Event{
		Type: "test.happened", Subject: subject, Time: time.Now(), Forget: time.Now().Add(48 * time.Hour),
		Data: map[string]string{"subject": subject}, News: func(context.Context) { s.news++ },
	}
}

func (s *stand) close(sender *webhook.Sender) {
	s.t.Helper()
	if err := sender.Close(context.Background()); err != nil {
		s.t.Errorf("Close: %v", err)
	}
}

// signed checks a delivery as a receiver would.
func signed(t *testing.T, d delivery) {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(fmt.Appendf(nil, "%s.%s.%s", d.header.Get("webhook-id"), d.header.Get("webhook-timestamp"), d.body))
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); d.header.Get("webhook-signature") != want {
		t.Errorf("signature %s, want %s", d.header.Get("webhook-signature"), want)
	}
	if at := d.header.Get("webhook-timestamp"); at != fmt.Sprint(d.at.Unix()) {
		t.Errorf("timestamp %s at %d", at, d.at.Unix())
	}
}

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
