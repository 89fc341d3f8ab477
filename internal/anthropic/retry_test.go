package anthropic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
)

// reply is one answer of a scripted upstream.
type reply struct {
	err    error
	status int // 0: 200
	header http.Header
	body   string
	length int64         // the Content-Length, if not of body
	pause  time.Duration // before each event of the body
	hang   bool          // the body never ends
}

// script is a RoundTripper that gives its replies one after the other, the last
// one again and again.
type script struct {
	replies []reply
	at      []time.Duration // when each request came
	bodies  []string
	start   time.Time
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	reply := s.replies[min(len(s.at), len(s.replies)-1)]
	s.at = append(s.at, time.Since(s.start))
	s.bodies = append(s.bodies, string(body))
	if reply.err != nil {
		return nil, reply.err
	}
	header := make(http.Header)
	for name, values := range reply.header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	length := reply.length
	if length == 0 {
		length = -1
	}
	return &http.Response{
		StatusCode: or(reply.status, http.StatusOK), Header: header, ContentLength: length,
		Body: &scriptBody{ctx: r.Context(), reply: reply, rest: strings.SplitAfter(reply.body, "\n\n")},
	}, nil
}

type scriptBody struct {
	ctx   context.Context
	reply reply
	rest  []string
}

func (b *scriptBody) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		if b.reply.hang {
			<-b.ctx.Done()
			return 0, b.ctx.Err()
		}
		return 0, io.EOF
	}
	if b.reply.pause > 0 {
		if err := sleep(b.ctx, b.reply.pause); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.rest[0])
	if b.rest[0] = b.rest[0][n:]; b.rest[0] == "" {
		b.rest = b.rest[1:]
	}
	return n, nil
}

func (b *scriptBody) Close() error { return nil }

func errorJSON(kind string) string {
	return fmt.Sprintf(`{"type":"error","error":{"type":"%s","message":"words of the upstream"}}`, kind)
}

func header(pairs ...string) http.Header {
	h := make(http.Header)
	for pair := range slices.Chunk(pairs, 2) {
		h.Set(pair[0], pair[1])
	}
	return h
}

func TestRetry(t *testing.T) {
	ok := reply{body: answer}
	status := func(code int, pairs ...string) reply {
		return reply{status: code, body: errorJSON("x_error"), header: header(pairs...)}
	}
	overloaded := "event: error\ndata: " + errorJSON("overloaded_error") + "\n\n"
	const s = time.Second
	tests := []struct {
		name     string
		replies  []reply
		retries  int
		deadline time.Duration
		want     []time.Duration // when each attempt is made; jitter is at its most
		category apierror.Category
		after    time.Duration // the error's RetryAfter
		err      error
	}{
		{name: "first try", replies: []reply{ok}, want: []time.Duration{0}},
		{
			name: "every status that may pass", replies: []reply{status(408), status(409), status(429), status(500), ok},
			want: []time.Duration{0, s / 2, 3 * s / 2, 7 * s / 2, 15 * s / 2},
		},
		{
			name: "up to four times", replies: []reply{status(503)}, category: apierror.UpstreamError,
			want: []time.Duration{0, s / 2, 3 * s / 2, 7 * s / 2, 15 * s / 2},
		},
		{
			name: "overloaded", replies: []reply{status(529)}, retries: 1, category: apierror.Overloaded, after: 5 * s,
			want: []time.Duration{0, s / 2},
		},
		{name: "never", replies: []reply{status(500)}, retries: -1, want: []time.Duration{0}, category: apierror.UpstreamError},
		{name: "bad request", replies: []reply{status(400)}, want: []time.Duration{0}, category: apierror.BadRequest},
		{name: "our credential", replies: []reply{status(401)}, want: []time.Duration{0}, category: apierror.AuthError},
		{
			name: "connection errors", replies: []reply{{err: io.ErrUnexpectedEOF}, {err: errors.New("refused")}, ok},
			want: []time.Duration{0, s / 2, 3 * s / 2},
		},
		{
			name: "upstream says no", replies: []reply{status(500, "x-should-retry", "false")},
			want: []time.Duration{0}, category: apierror.UpstreamError,
		},
		{
			name: "upstream says yes", replies: []reply{status(400, "x-should-retry", "true"), ok},
			want: []time.Duration{0, s / 2},
		},
		{
			name: "retry-after is kept", replies: []reply{status(429, "retry-after", "3"), status(503, "retry-after-ms", "250", "retry-after", "9"), ok},
			want: []time.Duration{0, 3 * s, 3*s + 250*time.Millisecond},
		},
		{
			name: "retry-after as a date", replies: []reply{status(429, "retry-after", "Sat, 01 Jan 2000 00:00:04 GMT"), ok},
			want: []time.Duration{0, 4 * s},
		},
		{
			name: "retry-after too long to wait", replies: []reply{status(429, "retry-after", "11")},
			want: []time.Duration{0}, category: apierror.RateLimited, after: 11 * s,
		},
		{
			name: "retry-after without sense", replies: []reply{status(429, "retry-after", "-1"), ok},
			want: []time.Duration{0, s / 2},
		},
		{
			name: "retry-after beyond the deadline", replies: []reply{status(429, "retry-after", "3")}, deadline: 2 * s,
			want: []time.Duration{0}, category: apierror.RateLimited, after: 3 * s,
		},
		{
			name: "backoff beyond the deadline", replies: []reply{status(500)}, deadline: 2 * s,
			want: []time.Duration{0, s / 2, 3 * s / 2}, category: apierror.UpstreamError,
		},
		{
			name: "overloaded inside the stream, nothing written", replies: []reply{{body: overloaded}, ok},
			want: []time.Duration{0, s / 2},
		},
		{
			name: "broken off before the first event", replies: []reply{{body: ": hello\n\nevent: message_st"}, ok},
			want: []time.Duration{0, s / 2},
		},
		{
			name: "refused inside the stream", replies: []reply{{body: "event: error\ndata: " + errorJSON("invalid_request_error") + "\n\n"}},
			want: []time.Duration{0}, category: apierror.BadRequest,
		},
		{
			name: "overloaded after the first event", replies: []reply{{body: answer[:300] + "\n\n" + overloaded}},
			want: []time.Duration{0}, category: apierror.Overloaded, after: 5 * s,
		},
		{
			name: "silent upstream", replies: []reply{{body: answer[:300], hang: true}},
			want: []time.Duration{0}, category: apierror.Timeout,
		},
		{
			name: "silent upstream beyond the deadline", replies: []reply{{body: answer[:300], hang: true}}, deadline: 30 * s,
			want: []time.Duration{0}, err: context.DeadlineExceeded,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				upstream := &script{replies: tt.replies, start: time.Now()}
				b := newBackend(t, Options{Transport: upstream, Retries: tt.retries})
				b.retry.Jitter = func(limit time.Duration) time.Duration { return limit }
				ctx := t.Context()
				if tt.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.deadline)
					defer cancel()
				}
				_, err := b.Generate(ctx, newCall(t, streamBody, "claude-a"), &recorder{})
				if !slices.Equal(upstream.at, tt.want) {
					t.Errorf("attempts at %v, want %v", upstream.at, tt.want)
				}
				for _, body := range upstream.bodies {
					if body != streamBody {
						t.Errorf("an attempt sent %s", body)
					}
				}
				if tt.err != nil {
					if !errors.Is(err, tt.err) {
						t.Errorf("error %v, want %v", err, tt.err)
					}
					return
				}
				e := apierror.From(err)
				switch {
				case (e != nil) != (tt.category != ""):
					t.Errorf("error %v, want %q", err, tt.category)
				case e != nil && (e.Category != tt.category || e.RetryAfter != tt.after):
					t.Errorf("error %v, retry after %v; want %s, %v", e, e.RetryAfter, tt.category, tt.after)
				}
			})
		})
	}
}

// Every call of an upstream that fails would like four retries.
func TestRetriesHaveABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		upstream, retried := &script{replies: []reply{{status: 529}}, start: time.Now()}, 0
		b := newBackend(t, Options{Transport: upstream, Retried: func() { retried++ }})
		b.retry.Jitter = func(time.Duration) time.Duration { return 0 }
		const calls = 100
		for range calls {
			if _, err := b.Generate(t.Context(), newCall(t, plainBody, "m"), &recorder{}); err == nil {
				t.Fatal("no error")
			}
		}
		if n := len(upstream.at); n != calls+retried || retried < calls/5 || retried > calls/5+20 {
			t.Errorf("%d attempts for %d calls, %d retries heard of", n, calls, retried)
		}
	})
}

func TestCallerLeavesWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		upstream := &script{replies: []reply{{status: 429, header: header("retry-after", "9")}}, start: time.Now()}
		b := newBackend(t, Options{Transport: upstream})
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, leave)
		_, err := b.Generate(ctx, newCall(t, plainBody, "m"), &recorder{})
		if !errors.Is(err, context.Canceled) || time.Since(upstream.start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(upstream.start))
		}
	})
}

// The idle timeout limits silence, not the length of an answer, and the time of
// a slow caller isn't the upstream's.
func TestLongAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := strings.Replace(answer, "event: ping\n", strings.Repeat("event: ping\ndata: {\"type\":\"ping\"}\n\n", 100)+"event: ping\n", 1)
		upstream := &script{replies: []reply{{body: long, pause: 59 * time.Second}}, start: time.Now()}
		b := newBackend(t, Options{Transport: upstream})
		out := &recorder{onEvent: func(message.Event) error { time.Sleep(90 * time.Second); return nil }}
		result, err := b.Generate(t.Context(), newCall(t, streamBody, "m"), out)
		if err != nil {
			t.Fatal(err)
		}
		if result.Usage.OutputTokens != 7 || out.raw.String() != long {
			t.Errorf("got %d events, %+v", len(out.types), result)
		}
		if took := time.Since(upstream.start); took < time.Hour {
			t.Errorf("took %v: the test proves nothing", took)
		}
	})
}

func TestPlainAnswerMayTakeLongToBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wait := 9 * time.Minute
		b := newBackend(t, Options{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if err := sleep(r.Context(), wait); err != nil {
				return nil, err
			}
			return (&script{replies: []reply{{body: plainAnswer}}}).RoundTrip(r)
		})})
		if _, err := b.Generate(t.Context(), newCall(t, plainBody, "m"), &recorder{}); err != nil {
			t.Error(err)
		}
		wait = time.Hour
		start := time.Now()
		_, err := b.Generate(t.Context(), newCall(t, plainBody, "m"), &recorder{})
		if e := apierror.From(err); e == nil || e.Category != apierror.Timeout || time.Since(start) != DefaultPlainTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		start = time.Now()
		_, err = b.Generate(t.Context(), newCall(t, streamBody, "m"), &recorder{})
		if e := apierror.From(err); e == nil || e.Category != apierror.Timeout || time.Since(start) != DefaultTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
