package taskapi

import (
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/protocol"
)

// Nothing else comes of a body than a request, or a bad_request.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"description":"d","allow_tools":["Read"],"allow_agents":[],"allow_skills":null,"timeout":300,"max_cost":0.5,"working_directory":"/srv"}`))
	f.Add([]byte(`{"description":"d","model":"haiku","max_turns":3,"system":"s","approval":"ask","priority":1,"stream":true,"async":false,"other":[{}]}`))
	f.Add([]byte(`{"description":"","max_cost":1e-9,"timeout":1e300}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		q := &taskRequest{}
		err := taskObject.Document(protocol.NewScanner(body), q)
		switch {
		case err != nil && apierror.From(err).Category != apierror.BadRequest:
			t.Errorf("category of %v", err)
		case err == nil && len(q.unknown) > maxWarnings:
			t.Errorf("%d members are named", len(q.unknown))
		}
	})
}
