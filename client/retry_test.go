package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"claude-code-api-service/client"
)

// answer is what a request without a network is answered with.
type answer struct {
	status int
	header http.Header
	body   string
	// endless: nothing follows the body but silence, until the caller leaves.
	endless bool
	fails   string // instead of all that
}

// says is an answer with a status, a body, and headers as name and value.
func says(status int, body string, headers ...string) answer {
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return answer{status: status, header: h, body: body}
}

func fails(text string) answer { return answer{fails: text} }

// sends is a stream of events.
func sends(text string) answer { return says(200, text, "Content-Type", "text/event-stream") }

// wire answers requests without a network, one after the other; the last answer stands for
// all that follow.
type wire struct {
	answers []answer
	left    func() // a caller has left; nil: nobody is told

	bodies  []string
	headers []http.Header
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	a := w.answers[min(len(w.bodies), len(w.answers)-1)]
	w.bodies, w.headers = append(w.bodies, string(body)), append(w.headers, r.Header)
	if w.left != nil {
		context.AfterFunc(r.Context(), w.left)
	}
	if a.fails != "" {
		return nil, errors.New(a.fails)
	}
	var reader io.Reader = strings.NewReader(a.body)
	if a.endless {
		silence, end := io.Pipe()
		context.AfterFunc(r.Context(), func() { _ = end.CloseWithError(r.Context().Err()) })
		reader = io.MultiReader(reader, silence)
	}
	reader = &live{r.Context(), iotest.OneByteReader(reader)}
	return &http.Response{StatusCode: a.status, Status: http.StatusText(a.status), Header: a.header, Body: io.NopCloser(reader)}, nil
}

// live is a body that ends with its request, as those of net/http do.
type live struct {
	ctx context.Context
	io.Reader
}

func (l *live) Read(p []byte) (int, error) {
	if err := context.Cause(l.ctx); err != nil {
		return 0, err
	}
	return l.Reader.Read(p)
}

const (
	slowDown = `{"detail":"slow down","error":{"message":"slow down","type":"rate_limited","param":null,"code":"rate_limited"}}`
	answered = `{"content":"ok","metadata":{}}`
)

// TestRetries has the service refuse a call for now, and counts when it is repeated.
func TestRetries(t *testing.T) {
	limited := says(429, slowDown, "Retry-After", "7")
	busy := says(503, `{"error":{"message":"full","type":"overloaded","code":"overloaded"}}`)
	running := says(409, `{"error":{"message":"it runs","type":"bad_request","code":"idempotency_in_progress"}}`, "Retry-After", "1")
	spent := `{"error":{"message":"spent","type":"budget_exceeded","code":"budget_exceeded"}}`
	for _, tt := range []struct {
		name    string
		answers []answer
		retries int
		once    bool
		within  time.Duration // 0: no deadline
		calls   int
		took    time.Duration
		code    string // of the error; "": none
	}{
		{"as Retry-After says", []answer{limited, limited, says(200, answered)}, 0, false, 0, 3, 14 * time.Second, ""},
		{"by itself where it says nothing", []answer{busy, busy, says(200, answered)}, 0, false, 0, 3, 1500 * time.Millisecond, ""},
		{"three times by default", []answer{limited}, 0, false, 0, 4, 21 * time.Second, "rate_limited"},
		{"never", []answer{limited}, -1, false, 0, 1, 0, "rate_limited"},
		{"not beyond the deadline", []answer{limited}, 9, false, 10 * time.Second, 2, 7 * time.Second, "rate_limited"},
		{"not where it would be the same", []answer{says(429, slowDown, "Retry-After", "7", "X-Should-Retry", "false")}, 0, false, 0, 1, 0, "rate_limited"},
		{"not of a spent budget", []answer{says(429, spent)}, 0, false, 0, 1, 0, "budget_exceeded"},
		{"of a budget that is held", []answer{says(429, spent, "Retry-After", "1"), says(200, answered)}, 0, false, 0, 2, time.Second, ""},
		{"not of other errors", []answer{says(502, `{"detail":"no","error":{"message":"no","type":"upstream_error","code":"upstream_error"}}`)}, 0, false, 0, 1, 0, "upstream_error"},
		{"not a lost connection", []answer{fails("reset")}, 0, true, 0, 1, 0, "reset"},
		{"what runs already under its key", []answer{running, says(200, answered)}, 0, true, 0, 2, time.Second, ""},
		{"that without a key isn't ours", []answer{running}, 0, false, 0, 1, 0, "idempotency_in_progress"},
		{"a proxy's page", []answer{says(503, "<html>"), says(200, answered)}, 0, false, 0, 2, 500 * time.Millisecond, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &wire{answers: tt.answers}
				c := clientOf(t, client.Options{Key: "k", HTTP: &http.Client{Transport: w}, Retries: tt.retries})
				ctx := t.Context()
				if tt.within > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.within)
					defer cancel()
				}
				var options []client.Option
				if tt.once {
					options = append(options, client.IdempotencyKey("once"))
				}
				begun := time.Now()
				answer, err := c.Process(ctx, client.ProcessRequest{Prompt: "hi"}, options...)
				if took := time.Since(begun); took != tt.took || len(w.bodies) != tt.calls {
					t.Errorf("%d calls in %s, want %d in %s", len(w.bodies), took, tt.calls, tt.took)
				}
				for i, body := range w.bodies {
					if body != w.bodies[0] || !strings.Contains(body, `"hi"`) || w.headers[i].Get("X-Api-Key") != "k" || (w.headers[i].Get("Idempotency-Key") == "once") != tt.once {
						t.Errorf("call %d: %s %v", i, body, w.headers[i])
					}
				}
				var e *client.Error
				switch {
				case tt.code == "":
					if err != nil || answer.Content != "ok" {
						t.Errorf("%+v %v", answer, err)
					}
				case errors.As(err, &e):
					if e.Code != tt.code {
						t.Errorf("%+v", e)
					}
				case err == nil || !strings.Contains(err.Error(), tt.code):
					t.Errorf("%v", err)
				}
			})
		})
	}
}

// TestFollow reads a task's events from a service that goes away.
func TestFollow(t *testing.T) {
	first := "id: 1\nevent: status\ndata: {\"type\":\"status\",\"status\":\"running\"}\n\nid: 2\nevent: text\ndata: {\"type\":\"text\",\"content\":\"a\"}\n\n"
	last := "id: 2\nevent: text\ndata: {\"type\":\"text\",\"content\":\"a\"}\n\nid: 3\nevent: result\ndata: {\"type\":\"result\",\"status\":\"completed\",\"id\":\"t\"}\n\n"
	away := says(503, `{"error":{"message":"stopping","type":"overloaded","code":"overloaded"}}`, "X-Should-Retry", "false")
	silent := sends(first + ": heartbeat\n\n")
	silent.endless = true
	gone := says(404, `{"error":{"message":"none","type":"bad_request","code":"not_found"}}`)
	for _, tt := range []struct {
		name    string
		answers []answer
		seen    string
		after   string // Last-Event-ID of the last call
		least   time.Duration
		fails   bool
	}{
		{"cut, away, back", []answer{sends(first), away, fails("refused"), sends(last)}, "1 2 3", "2", 0, false},
		{"silent", []answer{silent, sends(last)}, "1 2 3", "2", time.Minute, false},
		{"cut in the middle of an event", []answer{sends(first + "id: 3\nevent: result\nda"), sends(last)}, "1 2 3", "2", 0, false},
		{"forgotten meanwhile", []answer{sends(first), gone}, "1 2", "2", 0, true},
		{"gone for good", []answer{sends(first), fails("refused")}, "1 2", "2", 2 * time.Minute, true},
		{"never there", []answer{fails("refused")}, "", "", 0, true},
		{"no stream", []answer{says(200, "<html>", "Content-Type", "text/html")}, "", "", 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &wire{answers: tt.answers}
				c := clientOf(t, client.Options{HTTP: &http.Client{Transport: w}, Retries: -1})
				begun, seen := time.Now(), ""
				var failed error
				for e, err := range c.TaskEvents(t.Context(), "t", 0) {
					if failed = err; err == nil {
						seen += fmt.Sprint(" ", e.Seq)
					}
				}
				if strings.TrimSpace(seen) != tt.seen || (failed != nil) != tt.fails || time.Since(begun) < tt.least || time.Since(begun) > tt.least+time.Minute {
					t.Errorf("saw%s in %s, then %v", seen, time.Since(begun), failed)
				}
				if after := w.headers[len(w.headers)-1].Get("Last-Event-ID"); after != tt.after {
					t.Errorf("the last call asked for what is behind %q", after)
				}
			})
		})
	}
}

// A reader that stops, or whose context ends, ends the connection.
func TestFollowStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := make(chan struct{})
		stream := sends("id: 1\nevent: status\ndata: {\"type\":\"status\"}\n\n")
		stream.endless = true
		c := clientOf(t, client.Options{HTTP: &http.Client{Transport: &wire{answers: []answer{stream}, left: func() { left <- struct{}{} }}}})
		for _, err := range c.TaskEvents(t.Context(), "t", 0) {
			if err != nil {
				t.Error(err)
			}
			break
		}
		<-left
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var failed error
		for _, err := range c.TaskEvents(ctx, "t", 0) {
			failed = err
			cancel()
		}
		<-left
		if !errors.Is(failed, context.Canceled) {
			t.Error(failed)
		}
	})
}

// A reader may take its time between two events, such as somebody who is asked whether a
// tool may be used: that isn't the service's silence.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clientOf(t, client.Options{HTTP: &http.Client{Transport: &wire{answers: []answer{
			sends("data: {\"type\":\"token\",\"content\":\"a\"}\n\ndata: {\"type\":\"token\",\"content\":\"b\"}\n\ndata: {\"type\":\"done\"}\n\n"),
		}}}})
		seen := 0
		for _, err := range c.ProcessStream(t.Context(), client.ProcessRequest{}) {
			if err != nil {
				t.Fatal(err)
			}
			seen++
			time.Sleep(time.Hour)
		}
		if seen != 3 {
			t.Errorf("%d events", seen)
		}
	})
}

func TestNew(t *testing.T) {
	for _, tt := range []struct{ url, want string }{
		{"", "http://127.0.0.1:8006"},
		{"https://claude.example/api/", "https://claude.example/api"},
		{"claude.example", ""},
		{"ftp://claude.example", ""},
		{"http://", ""},
		{"http://me:secret@claude.example", ""},
		{"http://claude.example?key=secret", ""},
		{"http://cla ude\x7f:secret", ""},
	} {
		c, err := client.New(client.Options{URL: tt.url})
		if tt.want == "" {
			if err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("%q: %v", tt.url, err)
			}
			continue
		}
		if err != nil || c.URL() != tt.want {
			t.Errorf("%q: %v %v", tt.url, c, err)
		}
	}
}

func TestErrorText(t *testing.T) {
	for want, e := range map[string]*client.Error{
		"slow down (429 rate_limited, request r1)": {Status: 429, Code: "rate_limited", Message: "slow down", RequestID: "r1"},
		"cancelled (cancelled)":                    {Code: "cancelled", Message: "cancelled"},
		"no (502)":                                 {Status: 502, Message: "no"},
		"the service gave no reason":               {},
	} {
		if e.Error() != want {
			t.Errorf("%q, want %q", e.Error(), want)
		}
	}
}
