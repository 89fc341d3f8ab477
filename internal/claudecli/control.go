package claudecli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// errRefused is wrapped by the error of a control request that the CLI
// answered with an error.
var errRefused = errors.New("the CLI refused the request")

// control is the body of a control request; which members are set depends on
// the subtype.
type control struct {
	Subtype            string    `json:"subtype"`
	SystemPrompt       any       `json:"systemPrompt,omitempty"`       // initialize: []string
	AppendSystemPrompt string    `json:"appendSystemPrompt,omitempty"` // initialize
	Hooks              any       `json:"hooks,omitempty"`              // initialize
	NewSystemPrompt    string    `json:"system_prompt,omitempty"`      // set_model
	Model              string    `json:"model,omitempty"`
	MaxThinkingTokens  *int64    `json:"max_thinking_tokens,omitempty"`
	ThinkingDisplay    string    `json:"thinking_display,omitempty"`
	Settings           *settings `json:"settings,omitempty"`
	TargetMessageUUID  string    `json:"target_message_uuid,omitempty"`
	InterruptIfRunning bool      `json:"interrupt_if_running,omitzero"`
	// Servers are the MCP servers from now on (mcp_set_servers): an empty map takes
	// them all away.
	Servers map[string]mcpServer `json:"servers,omitzero"`
}

// mcpServer is a server whose messages come over this protocol.
type mcpServer struct {
	Type string `json:"type"` // "sdk"
	Name string `json:"name"`
}

type settings struct {
	Model string            `json:"model,omitempty"`
	Env   map[string]string `json:"env,omitempty"`
}

type controlResponse struct {
	Subtype   string         `json:"subtype"`
	RequestID string         `json:"request_id"`
	Error     string         `json:"error"`
	Response  jsontext.Value `json:"response"`
}

// ask sends control requests in one write and waits for all of their answers,
// in order. The first refusal is returned, after all have answered.
func (c *child) ask(ctx context.Context, timeout time.Duration, requests ...control) ([]controlResponse, error) {
	defer c.guard(ctx, timeout)()
	first := c.requests + 1
	c.buffer.Reset()
	for _, request := range requests {
		c.requests++
		if err := appendControl(&c.buffer, c.requests, request); err != nil {
			return nil, err
		}
	}
	if err := c.write(c.buffer.Bytes()); err != nil {
		return nil, c.timedOut(ctx, err)
	}
	answers := make([]controlResponse, len(requests))
	var refused error
	for missing := len(requests); missing > 0; {
		l, err := c.read()
		if err != nil {
			return nil, c.timedOut(ctx, err)
		}
		answer, mine, err := c.answer(l)
		if err != nil {
			return nil, err
		}
		i := mine - first
		if i < 0 || i >= len(answers) {
			continue
		}
		answers[i] = answer
		missing--
		if answer.Subtype != "success" && refused == nil {
			refused = fmt.Errorf("%s: %w: %s", requests[i].Subtype, errRefused, answer.Error)
		}
	}
	return answers, refused
}

// Ping asks a process that rests for a sign of life, and waits for it no longer
// than for any control request. It changes nothing, whether or not the process
// holds a conversation. A ctx that ends leaves the process as it was: the answer is
// skipped when it comes. After any other error the process must be closed.
func (c *child) Ping(ctx context.Context) error {
	_, err := c.ask(ctx, c.options.ControlTimeout, control{Subtype: askVersion})
	if err == nil {
		err = c.broken
	}
	return err
}

// askVersion is the cheapest question that both versions answer.
const askVersion = "get_binary_version"

// answer takes a line that comes while control requests are open. It returns
// the number of the request that the line answers, or 0.
func (c *child) answer(l *line) (controlResponse, int, error) {
	switch l.Type {
	case lineResult:
		_, err := c.result(l)
		return controlResponse{}, 0, err
	case lineControlRequest:
		return controlResponse{}, 0, c.own(l)
	case lineControlResponse:
		var answer controlLine
		if err := decode(l.Raw, &answer); err != nil {
			return answer.Response, 0, fmt.Errorf("decode control response: %w", err)
		}
		return answer.Response, controlNumber(answer.Response.RequestID), nil
	}
	return controlResponse{}, 0, nil
}

const controlPrefix = "r"

func controlID(n int) string { return controlPrefix + strconv.Itoa(n) }

func controlNumber(id string) int {
	if len(id) < 2 || id[:1] != controlPrefix {
		return 0
	}
	n, err := strconv.Atoi(id[1:])
	if err != nil {
		return 0
	}
	return n
}

// controlRequest is the line of a control request.
type controlRequest struct {
	Type      string  `json:"type"`
	RequestID string  `json:"request_id"`
	Request   control `json:"request"`
}

// controlAnswer is the line that answers a request of the CLI's own.
type controlAnswer struct {
	Type     string `json:"type"`
	Response any    `json:"response"`
}

// success answers a request of the CLI's own.
func success(requestID string, response any) controlAnswer {
	type body struct {
		Subtype   string `json:"subtype"`
		RequestID string `json:"request_id"`
		Response  any    `json:"response"`
	}
	return controlAnswer{lineControlResponse, body{"success", requestID, response}}
}

// refusal answers a request of the CLI's own with an error.
func refusal(requestID string) controlAnswer {
	type body struct {
		Subtype   string `json:"subtype"`
		RequestID string `json:"request_id"`
		Error     string `json:"error"`
	}
	return controlAnswer{lineControlResponse, body{"error", requestID, "not available here"}}
}

// appendControl adds the line of the nth control request.
func appendControl(dst *bytes.Buffer, n int, request control) error {
	return appendLine(dst, controlRequest{lineControlRequest, controlID(n), request})
}

func appendLine(dst *bytes.Buffer, v any) error {
	if err := json.MarshalWrite(dst, v); err != nil {
		return fmt.Errorf("encode line: %w", err)
	}
	return dst.WriteByte('\n')
}
