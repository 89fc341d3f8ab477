package sessionapi

import (
	"testing"

	"claude-code-api-service/internal/apierror"
)

// Nothing else comes of a body than a wish, or a bad_request.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(``))
	f.Add([]byte(`{"model":"haiku","system":"s","allowed_tools":["Read","Bash(git log:*)"],"allowed_agents":null,"allowed_skills":[],"working_directory":"/srv","ttl":60}`))
	f.Add([]byte(`{"ttl":1e300,"other":{"a":[1]}}`))
	h := New(Options{})
	f.Fuzz(func(t *testing.T, body []byte) {
		q, err := h.decode(body)
		switch {
		case err != nil && apierror.From(err).Category != apierror.BadRequest:
			t.Errorf("category of %v", err)
		case err == nil && q.wish.TTL < 0:
			t.Errorf("it is kept for %v", q.wish.TTL)
		}
	})
}
