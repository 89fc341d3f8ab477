package openaiapi_test

import (
	"net/http"
	"slices"
	"testing"

	"claude-code-api-service/internal/protocol/protocoltest"
)

// TestWork: tools of the CLI's own are asked for on the call, which others are charged
// for then; and a limit that the caller didn't name isn't one that can't be honoured.
func TestWork(t *testing.T) {
	for _, tt := range []struct {
		name, members string
		tools         []string
		metered, ours bool
	}{
		{"none", ``, nil, false, true},
		{"none of them", `"allowed_tools":[],"working_directory":null,`, nil, false, true},
		{"one", `"allowed_tools":["Read"],`, []string{"Read"}, true, true},
		{"one and a limit", `"max_tokens":9,"allowed_tools":["Read"],`, []string{"Read"}, true, false},
		{"one and another limit", `"max_completion_tokens":9,"allowed_tools":["Read"],`, []string{"Read"}, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rooms := &protocoltest.Rooms{Message: []byte(`{"id":"msg_1","model":"m","content":[{"type":"text","text":"a"}],"stop_reason":"end_turn","usage":{}}`)}
			if answer := protocoltest.Post(t, serve(t, rooms), "{"+tt.members+plain[1:]); answer.Status != http.StatusOK {
				t.Fatalf("%+v", answer)
			}
			call := rooms.Calls()[0]
			var tools []string
			if call.Work != nil {
				tools = call.Work.Tools
			}
			if !slices.Equal(tools, tt.tools) || call.Metered != tt.metered || slices.Contains(call.Defaults, "max_tokens") != tt.ours {
				t.Errorf("tools %v, metered %v, defaults %v", tools, call.Metered, call.Defaults)
			}
		})
	}
}
