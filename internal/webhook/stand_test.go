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
	nodes    webhook.Nodes
}

func newStand(t *testing.T, statuses ...int) *stand {
	s := &stand{t: t, store: newMemory(), receiver: &receiver{statuses: statuses}, url: address}
	s.logger = slog.New(slog.NewTextHandler(&s.log, nil))
	return s
}

func (s *stand) start() *webhook.Sender {
	s.t.Helper()
	sender, err := webhook.New(s.t.Context(), webhook.Options{
		URL: s.url, Secret: secret, Archive: archive.New(archive.Options{Store: s.store}), Nodes: s.nodes,
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
