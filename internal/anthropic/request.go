package anthropic

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/trace"
)

// pieces is a request body in several parts.
type pieces [][]byte

func (b *Backend) body(call *gateway.Call) pieces {
	var body pieces
	// What is counted must be what the caller wrote.
	if b.caching && !call.CountOnly {
		body = call.Request.UpstreamCached(call.Model, call.MaxTokens)
	} else {
		body = call.Request.Upstream(call.Model, call.MaxTokens)
	}
	if len(body) > 1 && body.size() <= smallBody {
		return pieces{bytes.Join(body, nil)}
	}
	return body
}

// smallBody is up to how many bytes the pieces are joined: copying so few takes
// under a microsecond, while net/http sends the header of a request whose body
// isn't one known buffer in a write of its own, which takes five.
const smallBody = 8 << 10

func (p pieces) size() int64 {
	n := 0
	for _, part := range p {
		n += len(part)
	}
	return int64(n)
}

func (p pieces) open() (io.ReadCloser, error) {
	if len(p) == 1 {
		// net/http knows this reader and sends header and body in one write.
		return io.NopCloser(bytes.NewReader(p[0])), nil
	}
	return &piecesReader{parts: p}, nil
}

// piecesReader reads pieces one after the other.
type piecesReader struct {
	parts pieces // what is left; the slice of slices is shared, so never changed
	off   int    // what of the first part has been read
}

func (r *piecesReader) Read(p []byte) (int, error) {
	n := 0
	for len(r.parts) > 0 && n < len(p) {
		c := copy(p[n:], r.parts[0][r.off:])
		n += c
		r.off += c
		if r.off == len(r.parts[0]) {
			r.parts, r.off = r.parts[1:], 0
		}
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (r *piecesReader) Close() error { return nil }

// request makes one attempt's request.
func (b *Backend) request(ctx context.Context, call *gateway.Call, body pieces) *http.Request {
	header := make(http.Header, len(b.header)+len(call.Forward))
	for name, values := range b.header {
		header[name] = values
	}
	for name, values := range call.Forward {
		switch name = http.CanonicalHeaderKey(name); name {
		case "Authorization":
			if b.login {
				header[name] = values
			}
		case "X-Api-Key", "Content-Type", "Host", "Content-Length":
			// The service's own; a caller's key is no business of the upstream.
		default:
			header[name] = values
		}
	}
	if call.Trace != nil {
		header[trace.HeaderParent] = []string{call.Trace.Out()}
		setIf(header, trace.HeaderState, call.Trace.State)
		setIf(header, trace.HeaderBaggage, call.Trace.Baggage)
	}
	reader, _ := body.open()
	to := b.url
	if call.CountOnly {
		to = b.count
	}
	if call.Query != "" {
		with := *to
		with.RawQuery = call.Query
		to = &with
	}
	req := &http.Request{
		Method: http.MethodPost, URL: to, Host: b.url.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: reader, GetBody: body.open, ContentLength: body.size(),
	}
	return req.WithContext(ctx)
}

func setIf(h http.Header, name, value string) {
	if value != "" {
		h[name] = []string{value}
	}
}
