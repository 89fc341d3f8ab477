package client

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// DefaultURL is where a service listens whose configuration says nothing about it.
const DefaultURL = "http://127.0.0.1:8006"

// DefaultRetries is how often a call that was refused for now is repeated.
const DefaultRetries = 3

// Options are what a Client needs to know. All of them may be left out.
type Options struct {
	// URL is the service's address, with a path where a proxy serves it below one; "" is
	// DefaultURL.
	URL string
	// Key is the API key. Health and Ready need none.
	Key string
	// HTTP makes the requests; nil: a client of the Client's own, without a timeout,
	// because answers may take long: the context of each call bounds it. A redirect is
	// followed by neither: the key is for the service's address alone.
	HTTP *http.Client
	// Retries is how often a call is repeated that the service refused for now; 0 is
	// DefaultRetries, less than 0 none. See Client.
	Retries int
}

// Client calls one service with one key. It is safe for concurrent use.
//
// A call that is answered with 429 or 503 was not carried out. It is repeated after what
// Retry-After says, as long as the context's deadline leaves time for that, unless the
// answer says that it would be refused again. What has begun to be answered is never
// repeated, and a call whose connection broke isn't either: nobody knows whether it was
// carried out. IdempotencyKey makes it safe to repeat.
//
// An error that the service answered with is an *Error; others are those of net/http and
// of the context.
type Client struct {
	base    *url.URL
	key     string
	http    *http.Client
	own     *http.Transport // nil: the caller's
	retries int
}

// New makes a Client. An error says that the URL is none.
func New(options Options) (*Client, error) {
	if options.URL == "" {
		options.URL = DefaultURL
	}
	base, err := url.Parse(options.URL)
	switch {
	case err != nil:
		return nil, errors.New("the service's address is no URL") // url's own error repeats it, with what may be a password
	case base.Scheme != "http" && base.Scheme != "https" || base.Host == "":
		return nil, fmt.Errorf("the service's address must begin with http:// or https:// and name a host: %s", base.Redacted())
	case base.User != nil || base.RawQuery != "" || base.Fragment != "":
		return nil, errors.New("the service's address must have no user, no query and no fragment; the key goes elsewhere")
	}
	base.Path = strings.TrimRight(base.Path, "/")
	base.RawPath = ""
	c := &Client{base: base, key: options.Key, http: &http.Client{}, retries: options.Retries}
	if options.HTTP != nil {
		*c.http = *options.HTTP
	} else {
		c.own = http.DefaultTransport.(*http.Transport).Clone()
		c.http.Transport = c.own
	}
	// net/http takes only headers of its own from what it sends to another host.
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if c.retries == 0 {
		c.retries = DefaultRetries
	}
	return c, nil
}

// URL gives the service's address.
func (c *Client) URL() string { return c.base.String() }

// Close ends the connections that are at rest. Calls that run go on. It does nothing to a
// client that Options brought.
func (c *Client) Close() {
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
}

// Option changes one call.
type Option func(*call)

// call is what Options say of one.
type call struct {
	header http.Header
	meta   *Meta
	once   bool
	// accept are statuses beyond those below 300 that are answers and no errors.
	accept int
}

func newCall(options []Option) *call {
	o := &call{header: http.Header{}}
	for _, option := range options {
		option(o)
	}
	return o
}

// IdempotencyKey has the service carry out the call once, however often it is sent: the
// others get the first one's answer. The key is up to 255 visible ASCII characters, for
// one request only. Process, Batch and Task take it.
func IdempotencyKey(key string) Option {
	return func(o *call) {
		o.header.Set("Idempotency-Key", key)
		o.once = true
	}
}

// The backends, for Backend.
const (
	BackendCLI    = "cli"
	BackendDirect = "direct"
)

// Backend asks for BackendCLI or BackendDirect; without it the service chooses.
func Backend(name string) Option {
	return func(o *call) {
		if name != "" {
			o.header.Set("X-Claude-Backend", name)
		}
	}
}

// RequestID gives the call an id, by which the service's log and ledger call it. One that
// isn't safe in a log is replaced by the service's own.
func RequestID(id string) Option {
	return func(o *call) { o.header.Set("X-Request-ID", id) }
}

// Header adds a header to the call, such as traceparent.
func Header(name, value string) Option {
	return func(o *call) { o.header.Set(name, value) }
}

// Into has meta filled in, when the answer's header has come and, of a stream, again at
// its end. It must not be read before the call has returned, or the stream has ended.
func Into(meta *Meta) Option { return func(o *call) { o.meta = meta } }

// Meta is what the service says about an answer beside it.
type Meta struct {
	Status    int
	RequestID string
	Backend   string // BackendCLI, BackendDirect, or "" where nothing was generated
	// Warnings name what of the request had no effect.
	Warnings string
	// Stages are how long the service took for what, by the names of Server-Timing.
	Stages map[string]time.Duration
	// Replayed says that the answer is that of a former call with the same
	// IdempotencyKey.
	Replayed bool
}
