package claudecli

import (
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// maxResult is how many bytes of a tool's result the CLI passes on; a longer one
// it would write to a file (at 500,000 characters, both versions, whatever more
// the tool asks for).
const maxResult = 400_000

// serverRequest is a line of type control_request, as far as it may be a message
// to the MCP server that holds the client's tools.
type serverRequest struct {
	RequestID string `json:"request_id"`
	Request   struct {
		Subtype    string     `json:"subtype"`
		ServerName string     `json:"server_name"`
		Message    rpcMessage `json:"message"`
	} `json:"request"`
}

// rpcMessage is a JSON-RPC message of the Model Context Protocol.
type rpcMessage struct {
	ID     jsontext.Value `json:"id"` // absent in notifications
	Method string         `json:"method"`
	Params struct {
		ProtocolVersion string `json:"protocolVersion"`
		Meta            struct {
			ToolUseID string `json:"claudecode/toolUseId"`
		} `json:"_meta"`
	} `json:"params"`
}

// openCall is a tools/call request that the CLI waits for.
type openCall struct {
	requestID string
	rpcID     jsontext.Value
	toolUseID string
}

// serve answers a request of the CLI's own: a message to the MCP server with the
// client's tools. A call that the client was told about stays open: the turn parks
// on it. There is nothing else to allow; an answer keeps the CLI from waiting.
func (p *Process) serve(l *line) error {
	var r serverRequest
	if err := decode(l.Raw, &r); err != nil {
		return fmt.Errorf("decode control request: %w", err)
	}
	if r.Request.Subtype != "mcp_message" || r.Request.ServerName != toolServer {
		return p.refuse(r.RequestID)
	}
	m := &r.Request.Message
	call := openCall{requestID: r.RequestID, rpcID: slices.Clone(m.ID), toolUseID: m.Params.Meta.ToolUseID}
	switch m.Method {
	case "initialize":
		return p.reply(call, rpcInitialized(m.Params.ProtocolVersion))
	case "tools/list":
		return p.reply(call, p.rpcTools())
	case "tools/call":
		if result, ok := p.results[call.toolUseID]; ok {
			delete(p.results, call.toolUseID)
			return p.reply(call, result)
		}
		if !slices.Contains(p.announced, call.toolUseID) {
			return p.refuse(r.RequestID)
		}
		p.calls = append(p.calls, call)
		return nil
	}
	return p.reply(call, struct{}{})
}

func rpcInitialized(version string) any {
	type info struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	return struct {
		ProtocolVersion string                    `json:"protocolVersion"`
		Capabilities    map[string]map[string]any `json:"capabilities"`
		ServerInfo      info                      `json:"serverInfo"`
	}{version, map[string]map[string]any{"tools": {}}, info{toolServer, "1"}}
}

// rpcTools lists the tools for the CLI, which only has to know their names: what
// the model sees of them is in the extra body.
func (p *Process) rpcTools() any {
	type tool struct {
		Name        string            `json:"name"`
		Description string            `json:"description"`
		InputSchema map[string]string `json:"inputSchema"`
		Meta        map[string]int    `json:"_meta"`
	}
	tools := make([]tool, len(p.offered))
	for i, name := range p.offered {
		tools[i] = tool{name, name, map[string]string{"type": "object"}, map[string]int{"anthropic/maxResultSizeChars": 500_000}}
	}
	return map[string]any{"tools": tools}
}

// reply answers a message to the MCP server. A notification gets an answer too:
// the control protocol waits for one.
func (p *Process) reply(call openCall, result any) error {
	type rpcResponse struct {
		Version string         `json:"jsonrpc"`
		ID      jsontext.Value `json:"id"`
		Result  any            `json:"result"`
	}
	type wrapped struct {
		Response rpcResponse `json:"mcp_response"`
	}
	id := call.rpcID
	if len(id) == 0 {
		id = jsontext.Value("0")
	}
	p.buffer.Reset()
	if err := appendLine(&p.buffer, success(call.requestID, wrapped{rpcResponse{"2.0", id, result}})); err != nil {
		return err
	}
	return p.write(p.buffer.Bytes())
}

// refuse answers a request of the CLI's own with an error.
func (p *Process) refuse(requestID string) error {
	p.buffer.Reset()
	if err := appendLine(&p.buffer, refusal(requestID)); err != nil {
		return err
	}
	return p.write(p.buffer.Bytes())
}
