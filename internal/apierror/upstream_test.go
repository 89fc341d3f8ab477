package apierror

import "testing"

func TestFromUpstream(t *testing.T) {
	for upstream, want := range map[int]struct {
		category Category
		status   int
		retry    bool
		said     bool // the upstream's words reach the caller
	}{
		400: {BadRequest, 400, false, true}, 422: {BadRequest, 400, false, true}, 404: {BadRequest, 404, false, true}, 413: {BadRequest, 413, false, true},
		401: {AuthError, 502, false, false}, 403: {AuthError, 502, false, false},
		402: {UpstreamError, 502, false, false}, 409: {UpstreamError, 502, false, false},
		408: {Timeout, 504, false, false}, 429: {RateLimited, 429, true, false}, 529: {Overloaded, 503, true, false},
		500: {UpstreamError, 502, false, false}, 503: {UpstreamError, 502, false, false}, 504: {UpstreamError, 502, false, false},
	} {
		e := FromUpstream(upstream, "its words")
		if e.Category != want.category || e.Status() != want.status || (e.RetryAfter > 0) != want.retry || (e.Message == "its words") != want.said {
			t.Errorf("%d: %+v with status %d", upstream, e, e.Status())
		}
		if e.Upstream.Status != upstream || e.Upstream.OurCredential != (want.category == AuthError) {
			t.Errorf("%d: upstream %+v", upstream, e.Upstream)
		}
		if FromUpstream(upstream, "").Message == "" {
			t.Errorf("%d has no text", upstream)
		}
	}
}
