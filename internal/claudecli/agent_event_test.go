package claudecli

import (
	"bytes"
	"testing"
)

// FuzzAgentLine has a turn read whatever the CLI could write: it is an event, or an error.
func FuzzAgentLine(f *testing.F) {
	for _, seed := range []string{
		`{"type":"assistant","parent_tool_use_id":null,"message":{"content":[{"type":"tool_use","id":"toolu_1","name":"Read","input":{"file_path":"x"}},{"type":"text","text":"t"}]}}`,
		`{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"toolu_1","content":[{"type":"text","text":"x"}],"is_error":true}]}}`,
		`{"type":"stream_event","event":{"type":"content_block_delta","delta":{"type":"text_delta","text":"x"}}}`,
		`{"type":"system","subtype":"init","session_id":"s","tools":["Read"],"mcp_servers":[{"name":"m","status":"connected"}]}`,
		`{"type":"user","message":{"content":"x"}}`, `{"type":"assistant","message":7}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if bytes.IndexByte(raw, '\n') >= 0 {
			return
		}
		turn := &agentTurn{Agent: &Agent{}}
		turn.handler.Event = func(e AgentEvent) error {
			if e.Type == AgentToolUse && e.ToolID == "" {
				t.Error("a use of a tool without an id")
			}
			return nil
		}
		if turn.scan(raw) != nil {
			return
		}
		for _, read := range []func(l *line) error{turn.assistant, turn.user, turn.stream, turn.system} {
			if err := read(&turn.line); err != nil {
				return
			}
		}
	})
}
