package clipool

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
)

// checkPairs refuses a conversation in which a tool's result doesn't follow its
// call, or a call has no result, as the Messages API does: the CLI would send
// something else instead of what doesn't fit.
func checkPairs(turns []message.Turn) error {
	var open []string // calls of the turn before
	for i, turn := range turns {
		calls, results, err := pairsOf(turn)
		if err != nil {
			return err
		}
		for _, id := range results {
			if !slices.Contains(open, id) {
				field := fmt.Sprintf("messages.%d.content", i)
				return apierror.Invalid(field, "%s: unexpected tool_use_id in a tool_result: %.64s; it must answer a tool_use of the message before", field, id)
			}
		}
		for _, id := range open {
			if !slices.Contains(results, id) {
				field := fmt.Sprintf("messages.%d.content", i)
				return apierror.Invalid(field, "%s: the tool_use %.64s of the message before has no tool_result", field, id)
			}
		}
		open = calls
	}
	return nil
}

// pairsOf gives the ids of the calls and of the results in a turn.
func pairsOf(turn message.Turn) (calls, results []string, err error) {
	if turn.Content.Kind() != '[' || !bytes.Contains(turn.Content, []byte(`"tool_`)) {
		return nil, nil, nil
	}
	var blocks []struct {
		Type      string `json:"type"`
		ID        string `json:"id"`
		ToolUseID string `json:"tool_use_id"`
	}
	if err := json.Unmarshal(turn.Content, &blocks); err != nil {
		return nil, nil, apierror.Wrap(apierror.BadRequest, "messages: wrong type", err)
	}
	for _, b := range blocks {
		switch {
		case b.Type == "tool_use" && turn.Role == message.RoleAssistant:
			calls = append(calls, b.ID)
		case b.Type == "tool_result" && turn.Role == message.RoleUser:
			results = append(results, b.ToolUseID)
		}
	}
	return calls, results, nil
}
