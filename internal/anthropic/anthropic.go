// Package anthropic is the direct backend: it generates over HTTP with the
// Messages API and passes the bytes through unchanged, both ways.
package anthropic

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/retry"
)

// Defaults of Options.
const (
	// DefaultBaseURL is where the Messages API is served.
	DefaultBaseURL = "https://api.anthropic.com"
	// DefaultVersion is the anthropic-version that is sent when the caller names
	// none: the one that the official SDKs send.
	DefaultVersion = "2023-06-01"
	// DefaultRetries is how often a failed call is repeated.
	DefaultRetries = 4
	// DefaultTimeout is how long the upstream may be silent.
	DefaultTimeout = 60 * time.Second
	// DefaultPlainTimeout is how long an answer in one piece may take to begin:
	// the default time limit of a request in the official SDKs.
	DefaultPlainTimeout = 10 * time.Minute
)

const (
	messagesPath = "/v1/messages"

	userAgent = "claude-code-api-service"
	// maxAnswer bounds an answer in one piece, in bytes. The longest answers of
	// the API are well under 1 MiB of text.
	maxAnswer = 64 << 20
	// maxEvent bounds one event of a stream, in bytes.
	maxEvent = 16 << 20
	// maxErrorBody bounds what is kept of an error answer, in bytes.
	maxErrorBody = 64 << 10
)

// Options configure a Backend.
type Options struct {
	// BaseURL is the API's address, without /v1. "": DefaultBaseURL.
	BaseURL string
	// APIKey is sent as x-api-key. When it is empty, AuthToken is sent as
	// Authorization: Bearer. One of them is required; the API key wins, as in
	// the official SDKs.
	APIKey    string
	AuthToken string
	// CallersLogin sends on the Authorization of Call.Forward instead, and a refusal
	// of it is the caller's to read: the CLI that calls has a login of its own.
	CallersLogin bool
	// Version is the anthropic-version for callers that name none. "":
	// DefaultVersion.
	Version string
	// Retries is how often a call is repeated after a failure that may pass, as
	// long as nothing has reached the caller. 0: DefaultRetries; negative: never.
	Retries int
	// FirstByteTimeout limits the wait for a stream's answer header, counted from
	// the start of the attempt. 0: DefaultTimeout.
	FirstByteTimeout time.Duration
	// PlainTimeout is the same for an answer in one piece. It is longer, because
	// the API sends the header of such an answer only once the whole of it has
	// been generated. 0: DefaultPlainTimeout.
	PlainTimeout time.Duration
	// IdleTimeout limits the silence between two bytes of an answer; it never
	// limits the whole of a long answer. 0: DefaultTimeout.
	IdleTimeout time.Duration
	// PromptCaching adds cache_control markers to requests that hold none.
	PromptCaching bool
	// Price gives the cost of the answer to a request that arrived at a moment, in
	// millionths of a US dollar, and false when it isn't known. It must be safe for
	// concurrent use. May be nil: no price is known.
	Price func(model string, at time.Time, u message.Usage) (microUSD int64, ok bool)
	// Logger hears of retries. May be nil.
	Logger *slog.Logger
	// Retried hears of every retry. May be nil.
	Retried func()
	// Transport replaces the backend's own HTTP transport, for tests and for
	// operators whose network needs another one (the backend's own uses no
	// proxy). May be nil.
	Transport http.RoundTripper
}

// Backend generates over the Messages API. It is safe for concurrent use and
// keeps its connections alive between requests.
type Backend struct {
	url, count *url.URL    // of messages, and of counting their tokens
	header     http.Header // of every request; shared, never changed
	transport  http.RoundTripper
	log        *slog.Logger
	price      func(string, time.Time, message.Usage) (int64, bool)
	caching    bool
	login      bool // see Options.CallersLogin

	firstByte, firstPlain, pause time.Duration
	retry                        retry.Policy
}

var _ gateway.Backend = (*Backend)(nil)

// New makes a Backend. It opens no connection. It fails when BaseURL isn't an
// HTTP address or when there is no credential.
func New(o Options) (*Backend, error) {
	base := o.BaseURL
	if base == "" {
		base = DefaultBaseURL
	}
	u, err := url.Parse(strings.TrimRight(base, "/") + messagesPath)
	if err != nil {
		return nil, fmt.Errorf("base URL of the Messages API: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("base URL of the Messages API: %q isn't an http or https address", base)
	}
	b := &Backend{
		url:        u,
		count:      u.JoinPath("count_tokens"),
		transport:  o.Transport,
		log:        o.Logger,
		price:      o.Price,
		caching:    o.PromptCaching,
		login:      o.CallersLogin,
		firstByte:  or(o.FirstByteTimeout, DefaultTimeout),
		firstPlain: or(o.PlainTimeout, DefaultPlainTimeout),
		pause:      or(o.IdleTimeout, DefaultTimeout),
		retry:      retry.Policy{Retries: max(0, or(o.Retries, DefaultRetries)), Budget: retry.NewBudget(), Retried: o.Retried},
	}
	b.header = http.Header{
		"Content-Type":      {"application/json"},
		"User-Agent":        {userAgent},
		"Anthropic-Version": {or(o.Version, DefaultVersion)},
	}
	switch {
	case o.CallersLogin:
	case o.APIKey != "":
		b.header["X-Api-Key"] = []string{o.APIKey}
	case o.AuthToken != "":
		b.header["Authorization"] = []string{"Bearer " + o.AuthToken}
	default:
		return nil, errors.New("the Messages API needs an API key or an auth token")
	}
	if b.transport == nil {
		b.transport = newTransport()
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if b.price == nil {
		b.price = func(string, time.Time, message.Usage) (int64, bool) { return 0, false }
	}
	return b, nil
}

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// Close closes the connections that no call uses.
func (b *Backend) Close() {
	if t, ok := b.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// Generate answers call over the Messages API; see gateway.Backend. A call that
// only counts is answered with the API's own count, and has no usage and no
// cost. It fills
// call.UpstreamHeader with the upstream's request-id. Failures that may pass
// (408, 409, 429, 5xx, connection errors, and what the upstream marks with
// x-should-retry) are repeated, within what all calls together may, as long as
// nothing was written to out; see retry.Policy.
func (b *Backend) Generate(ctx context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	body := b.body(call)
	b.retry.Budget.Call()
	for attempt := 0; ; attempt++ {
		result, fail := b.try(ctx, call, body, out)
		if fail == nil {
			return result, nil
		}
		if !fail.retry || !b.retry.Pause(ctx, attempt, fail.wait, fail.waitKnown) {
			if ctx.Err() != nil {
				return result, ctx.Err()
			}
			return result, fail.err
		}
		b.log.LogAttrs(ctx, slog.LevelInfo, "repeat upstream call",
			slog.String("request_id", call.RequestID), slog.Int("attempt", attempt+1), slog.Any("error", fail.err))
	}
}
