package fakeclaude

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// call is a call of a tool that the fake waits for, in the turn of a prompt.
type call struct {
	prompt string
	asked  bool     // a second time
	open   []string // ids of the requests that wait
	said   []string // what came back
}

// callTool answers with a call of a tool and asks for its result.
func (f *fake) callTool(prompt, name, stop string) {
	id := fmt.Sprintf("msg_%d_%d", os.Getpid(), f.turns)
	use := fmt.Sprintf(`{"type":"tool_use","id":"toolu_%d_%d","name":%s,"input":{}}`, os.Getpid(), f.turns, quoted("mcp__c__"+name))
	event := func(body string) {
		f.put(`{"type":"stream_event","session_id":%s,"event":%s}`, quoted(f.session), body)
	}
	event(fmt.Sprintf(`{"type":"message_start","message":{"id":%s,"type":"message","role":"assistant","model":%s,"content":[],"stop_reason":null,"usage":{"input_tokens":3,"output_tokens":1}}}`, quoted(id), quoted(f.model)))
	event(`{"type":"content_block_start","index":0,"content_block":` + use + `}`)
	f.put(`{"type":"assistant","session_id":%s,"message":{"id":%s,"type":"message","role":"assistant","content":[%s]}}`, quoted(f.session), quoted(id), use)
	event(`{"type":"content_block_stop","index":0}`)
	event(fmt.Sprintf(`{"type":"message_delta","delta":{"stop_reason":%s,"stop_sequence":null},"usage":{"output_tokens":5}}`, quoted(stop)))
	event(`{"type":"message_stop"}`)
	f.context = append(f.context, "")
	f.call = &call{prompt: prompt}
	f.askForResult(name)
}

func (f *fake) askForResult(name string) {
	f.asked++
	requestID := fmt.Sprintf("own-%d", f.asked)
	f.call.open = append(f.call.open, requestID)
	use := fmt.Sprintf("toolu_%d_%d", os.Getpid(), f.turns)
	if f.call.asked {
		use = "toolu_unheard_of"
	}
	f.put(`{"type":"control_request","request_id":%s,"request":{"subtype":"mcp_message","server_name":"c","message":{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":%s,"arguments":{},"_meta":{"claudecode/toolUseId":%s}}}}}`,
		quoted(requestID), f.asked, quoted(name), quoted(use))
	if f.has("callstwice") && !f.call.asked {
		f.call.asked = true
		f.askForResult(name)
	}
}

// answered takes the result of a call and, when none is open, goes on as with a
// prompt that says what came back, its directives too.
func (f *fake) answered(i *input) {
	if f.call == nil || !slices.Contains(f.call.open, i.Response.RequestID) {
		return
	}
	said := "result=" + string(i.Response.Response)
	if i.Response.Error != "" {
		said = "refused=" + i.Response.Error
	}
	f.call.said = append(f.call.said, said)
	if len(f.call.said) < len(f.call.open) {
		return
	}
	prompt, all := f.call.prompt, strings.Join(f.call.said, " ")
	f.call = nil
	f.turn(&input{UUID: prompt}, fmt.Sprintf("%s servers=%d extra=%s", all, len(f.servers), f.env["CLAUDE_CODE_EXTRA_BODY"]))
}
