package anthropic

import (
	"net"
	"net/http"
	"time"
)

// newTransport makes the connections to the upstream. They are many and stay
// open, because a new one costs two to three round trips. Answers are never
// decompressed, so that their bytes pass as they are. No proxy is used, also
// not one from the environment: where a request goes depends on the options
// alone.
func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Transport{
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		// A ping finds out that the one HTTP/2 connection under many calls is
		// dead, which a silent network doesn't tell.
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
		MaxIdleConns:        1024,
		MaxIdleConnsPerHost: 1024,
		// Most servers and load balancers keep an idle connection for a minute or
		// more; one that was closed under a request is replaced by net/http.
		IdleConnTimeout:    90 * time.Second,
		DisableCompression: true,
		WriteBufferSize:    16 << 10,
		ReadBufferSize:     16 << 10,
	}
}
